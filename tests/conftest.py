"""What every test stands on: an Airflow home of its own, and none of the user's settings, keys or proxies."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import certifi
import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

TESTS = Path(__file__).parent
FOREIGN = ("AIRFLOW_", "GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_", "GOOGLE_CLOUD_")


def _isolate() -> Path:
    """Airflow reads its settings when it is first imported, which happens while tests are collected: before any fixture."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name.lower().endswith("_proxy"):
            del os.environ[name]
    home = Path(tempfile.mkdtemp(prefix="gemini-batch-tests-"))
    (home / "dags").mkdir()
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["SSL_CERT_FILE"] = str(_one_certificate(home))
    return home


def _one_certificate(home: Path) -> Path:
    """A certificate file that is quick to read: each SDK client reads it three times, and most tests make a client (for HTTP)."""
    end = "-----END CERTIFICATE-----\n"
    file = home / "certificate.pem"
    file.write_text(certifi.contents().partition(end)[0] + end, encoding="ascii")
    return file


HOME = _isolate()


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("integration", "e2e", "cluster"):
            item.add_marker(folder)
