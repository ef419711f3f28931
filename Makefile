# Everything runs in .venv, which is made from stock Python 3 (3.10 or newer, with venv and pip) and the package registry alone.
# Another interpreter: make PYTHON=python3.12 ...

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
UV := build/uv/bin/python -m uv

# Settings of another environment must not reach into this one. Tests and demo bring an Airflow home of their own.
unexport PYTHONPATH PYTHONHOME AIRFLOW_HOME AIRFLOW_CONFIG
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint format constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## take a real table through the emulator, inside Airflow, and show both tables
	@$(BIN)/python -m airflow_gemini_batch.cli demo

test: $(READY) ## run every test: unit, integration, and end to end with real Airflow processes
	@$(BIN)/python -m pytest

test-fast: $(READY) ## run every test that needs no Airflow processes
	@$(BIN)/python -m pytest -m "not e2e" -n 2 --dist loadfile

lint: $(READY) ## check style, format and types
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy

format: $(READY) ## put the code into its standard form
	@$(BIN)/python -m ruff check --fix-only --quiet
	@$(BIN)/python -m ruff format

constraints: ## choose new versions for constraints.txt
	@$(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install -qq uv
	@$(UV) pip compile --quiet --upgrade --universal --python-version 3.10 --all-extras --no-annotate \
		--custom-compile-command "make constraints" --output-file constraints.txt pyproject.toml

clean: ## remove .venv and everything that was built
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

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
