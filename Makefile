# Everything runs in .venv, which is made from stock Python 3 (3.10 or newer, with venv and pip) and the package registry alone.
# Another interpreter: make PYTHON=python3.12 ...

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
UV := build/uv/bin/python -m uv
LOWEST := build/matrix/lowest

# The SDK beside the one of .venv: the oldest that we promise, and major 2 as constraints.txt has it.
GENAI_OLDEST := $(shell sed -n 's/.*"google-genai>=\([0-9.]*\),.*/\1.0/p' pyproject.toml)
GENAI_2 := $(shell sed -n 's/^google-genai==\(2[0-9.]*\).*/\1/p' constraints.txt)
SDK_TESTS := tests/unit/engine/request/test_sdk_request.py \
	$(addprefix tests/integration/engine/test_, client.py encoder_against_sdk.py inline.py api.py) \
	$(addprefix tests/integration/emulator/test_, \
		batches.py files.py garbage.py http_faults.py official_page.py official_page_results.py references.py uploads.py webhooks.py)

# Settings of another environment must not reach into this one. Tests and demo bring an Airflow home of their own.
unexport PYTHONPATH PYTHONHOME AIRFLOW_HOME AIRFLOW_CONFIG
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-fast test-cluster test-matrix test-js crash bench lint format constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## take a real table through the emulator, inside Airflow, and show both tables
	@$(BIN)/python -m airflow_gemini_batch.cli demo

test: $(READY) ## run every test: unit, integration, end to end with real Airflow processes, and on a cluster of Celery workers
	@$(BIN)/python -m pytest -m "not e2e and not cluster" -n 2 --dist loadfile
	@$(BIN)/python -m pytest -m e2e
	@$(BIN)/python -m pytest -m cluster

test-fast: $(READY) ## run every test that needs no Airflow processes and no minutes
	@$(BIN)/python -m pytest -m "not e2e and not cluster and not slow" -n 2 --dist loadfile

test-cluster: $(READY) ## kill Celery workers in each step of a run, with real PostgreSQL, Redis and S3 servers (four minutes)
	@$(BIN)/python -m pytest -m cluster

test-matrix: $(READY) build/matrix/$(GENAI_OLDEST)/ready build/matrix/$(GENAI_2)/ready $(LOWEST)/ready ## run what touches the SDK on its other versions, and the engine on the lowest of everything
	@$(call sdk_tests,build/matrix/$(GENAI_OLDEST)/bin,v1)
	@$(call sdk_tests,build/matrix/$(GENAI_2)/bin,v1beta)
	@$(call sdk_tests,$(BIN),v1)
	@$(call sdk_tests,$(LOWEST)/bin,v1beta)
	@echo "-- the lowest versions of pyproject.toml"
	@$(LOWEST)/bin/python -m pytest -q -n 2 --dist loadfile tests/unit/engine tests/unit/webhooks

define sdk_tests
echo "-- google-genai $$($(1)/python -c 'from google import genai; print(genai.__version__)') on $(2)" && \
GEMINI_API_VERSION=$(2) $(1)/python -m pytest -q -n 2 --dist loadfile $(SDK_TESTS)
endef

test-js: $(READY) ## let the JavaScript SDK talk to the emulator (needs node and npm)
	@TEST_JS=1 $(BIN)/python -m pytest tests/integration/emulator/test_js_sdk.py

crash: $(READY) ## kill it a thousand times and count what was paid for and what arrived (up to 20 minutes)
	@$(BIN)/python benchmarks/crash.py --crashes 1000

bench: $(READY) ## measure every figure of speed and size beside the official samples, DuckDB and polars (up to 15 minutes)
	@$(BIN)/python benchmarks/bench.py

lint: $(READY) ## check style, format and types
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy

docs: $(READY) ## build the documentation into build/site; a broken link or anchor is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "build/site/index.html"

format: $(READY) ## put the code into its standard form
	@$(BIN)/python -m ruff check --fix-only --quiet
	@$(BIN)/python -m ruff format

constraints: build/uv/ready ## choose new versions for constraints.txt
	@$(UV) pip compile --quiet --upgrade --universal --python-version 3.10 --all-extras --no-annotate \
		--custom-compile-command "make constraints" --output-file constraints.txt pyproject.toml

clean: ## remove .venv and everything that was built
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Another google-genai in front of everything that .venv has: made in seconds.
build/matrix/%/ready: $(READY)
	@$(BIN)/python -m venv --clear $(@D)
	@packages=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
		echo "import site; site.addsitedir('$$packages')" > $$(echo $(@D)/lib/python*/site-packages)/venv.pth
	@$(@D)/bin/python -m pip install -qq google-genai==$*
	@touch $@

# Airflow 3.1 does not start with newer versions of structlog; its own constraints leave them out too.
$(LOWEST)/ready: pyproject.toml build/uv/ready
	@$(PYTHON) -m venv --clear $(@D)
	@echo "structlog<25.5" > $(@D)/limits.txt
	@$(UV) pip compile --quiet --resolution lowest-direct --extra test-tools --constraint $(@D)/limits.txt \
		--python $(@D)/bin/python --output-file $(@D)/versions.txt pyproject.toml
	@$(UV) pip install --quiet --python $(@D)/bin/python --requirements $(@D)/versions.txt
	@$(UV) pip install --quiet --python $(@D)/bin/python --no-deps --editable .
	@touch $@

build/uv/ready:
	@$(PYTHON) -m venv --clear build/uv && build/uv/bin/python -m pip install -qq uv
	@touch $@

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
		{ echo "Python 3.10 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there)."; \
		  echo "Name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) comes without venv. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Making .venv with Airflow and all tools, once: this takes one to three minutes."
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@
