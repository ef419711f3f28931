"""A wrong key, an unknown model and a destination that cannot be written are found before the source is read.

The source of these tests does not exist: a run that got as far as reading it fails with another error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_gemini_batch.emulator import Emulator, HttpFault
from airflow_gemini_batch.engine.errors import ApiKeyError, DestinationError, InputError, NotFoundError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.gemini.client import Endpoint
from tests.integration.engine.conftest import MODEL, creates

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
NOWHERE = "/nowhere/rows.parquet"
MODELS = "/models/[^:]*$"
PAGE = "<html>Sign in to continue</html>"


class ReadOnly(MemoryFileSystem):
    """A store that may be read and not written."""

    protocol = "readonly"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if "r" not in mode:
            raise PermissionError("Access Denied")
        return super()._open(path, mode, **kwargs)


class WithoutBucket(ReadOnly):
    """A store whose bucket does not exist, which it says as object stores do."""

    protocol = "nobucket"

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        raise FileNotFoundError("The specified bucket does not exist")


class WithoutDelete(MemoryFileSystem):
    """An object store (a write is one upload there, without a rename) in which nothing may be deleted."""

    protocol = ("nodelete", "gs")
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        raise PermissionError("Access Denied") if self.exists(path) else FileNotFoundError(path)


@pytest.fixture(autouse=True)
def stores() -> Iterator[None]:
    for name, kind in {"readonly": ReadOnly, "nobucket": WithoutBucket, "nodelete": WithoutDelete}.items():
        fsspec.register_implementation(name, kind, clobber=True)
    yield
    WithoutDelete.store.clear()


def test_a_wrong_key_is_found_first(go: Go, endpoint: Endpoint, tmp_path: Path) -> None:
    with pytest.raises(ApiKeyError, match="API key not valid"):
        go(source=NOWHERE, endpoint=replace(endpoint, api_key="invalid-key-of-someone"))


@pytest.mark.parametrize("model", ["no-such-model", "models/no-such-model"])
def test_an_unknown_model_is_found_first(model: str, go: Go, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"Could not find model .*no-such-model.*Check the model's name") as error:
        go(source=NOWHERE, model=model)

    assert (error.value.code, error.value.status) == (404, "NOT_FOUND")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["gemini/../x", "gemini?x=1", "gemini&x"])
def test_a_name_that_no_model_has_is_an_input_error(model: str, go: Go) -> None:
    with pytest.raises(InputError, match="expected a name such as"):
        go(source=NOWHERE, model=model)


@pytest.mark.parametrize(
    ("destination", "said"),
    [
        ("readonly://lake/run", "Cannot write readonly://lake/run/.*Access Denied.*write access"),
        ("nobucket://lake/run", "Cannot write nobucket://lake/run/.*bucket does not exist.*create it"),
        ("/sys/run", "Cannot write /sys/run/"),
    ],
)
@pytest.mark.parametrize("if_exists", ["resume", "replace"])
def test_a_destination_that_cannot_be_written_is_found_first(destination: str, said: str, if_exists: str, go: Go) -> None:
    with pytest.raises(DestinationError, match=said):
        go(source=NOWHERE, destination=destination, if_exists=if_exists)


def test_foreign_tables_at_the_destination_are_found_first(go: Go, tmp_path: Path) -> None:
    (tmp_path / "run" / "results").mkdir(parents=True)
    (tmp_path / "run" / "results" / "mine.parquet").touch()

    with pytest.raises(DestinationError, match="no manifest"):
        go(source=NOWHERE)


def test_a_store_without_deletion_is_good_enough(go: Go, emulator: Emulator) -> None:
    assert go(destination="nodelete://lake/run").results == 12


def test_the_probe_is_gone_after_the_build(go: Go, tmp_path: Path) -> None:
    go()

    assert not (tmp_path / "run" / "_run" / "probe").exists()


@pytest.mark.parametrize(
    "answer",
    [
        {"do": "status", "status": 404, "body": PAGE},
        {"do": "status", "status": 404, "body": {"error": {"message": "no such route"}}},
        {"do": "status", "status": 403, "body": PAGE},
        {"do": "status", "status": 401, "body": PAGE},
        {"do": "status", "status": 400, "body": ""},
        {
            "do": "status",
            "status": 403,
            "body": {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "Method GetModel is blocked."}},
        },
        {"do": "status", "status": 200, "body": PAGE},
        {"do": "status", "status": 200, "body": ["not", "a", "model"]},
        {"do": "status", "status": 200, "body": ""},
        {"do": "status", "status": 429},
        {"do": "status", "status": 500},
        {"do": "status", "status": 503, "body": PAGE},
        {"do": "drop"},
        {"do": "delay", "seconds": 60},
    ],
    ids=str,
)
def test_an_answer_that_is_not_certain_stops_nothing(
    answer: dict[str, Any], go: Go, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.gemini.client._CHECK_TIMEOUT", 0.5)
    emulator.faults.add(HttpFault(method="GET", path=MODELS, **answer))

    with caplog.at_level(logging.WARNING):
        assert go().results == 12

    lines = [record.getMessage() for record in caplog.records if "could not be checked in advance" in record.getMessage()]
    assert len(lines) == (0 if answer == {"do": "status", "status": 200, "body": ""} else 1)
    assert len(creates(emulator)) == 3


def test_a_tuned_model_that_cannot_be_looked_at_stops_nothing(go: Go, emulator: Emulator) -> None:
    missing = {"error": {"code": 404, "status": "NOT_FOUND", "message": "Requested entity was not found."}}
    emulator.faults.add(HttpFault(do="status", status=404, body=missing, method="GET", path="/tunedModels/"))

    with pytest.raises(InputError, match="nowhere"):
        go(source=NOWHERE, model="tunedModels/mine")


def test_a_run_that_is_there_is_not_checked_again(go: Go, emulator: Emulator) -> None:
    first = go()
    emulator.faults.add(HttpFault(do="status", status=401, method="GET", path=MODELS))

    assert go() == first


@pytest.mark.parametrize("other", [{"model": "no-such-model"}, {"model": "gemini-3.6-pro", "key_is_wrong": True}], ids=str)
def test_a_run_is_not_replaced_by_one_that_cannot_work(
    other: dict[str, Any], go: Go, endpoint: Endpoint, tmp_path: Path, emulator: Emulator
) -> None:
    go(model=MODEL)
    summary = (tmp_path / "run" / "summary.json").read_bytes()
    if other.pop("key_is_wrong", False):
        other["endpoint"] = replace(endpoint, api_key="invalid-key-of-someone")

    with pytest.raises((NotFoundError, ApiKeyError)):
        go(if_exists="replace", **other)

    assert (tmp_path / "run" / "summary.json").read_bytes() == summary
