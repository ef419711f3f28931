"""URIs are opened as Airflow opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.sdk import ObjectStoragePath

from airflow_gemini_batch._locations import locate, plain_source, uri_of
from airflow_gemini_batch.engine.errors import InputError


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://{}/"])
def test_local_paths_and_file_uris_are_written_as_files(form: str, tmp_path: Path) -> None:
    place = locate(form.format(tmp_path / "a run #1?"))

    (place / "summary.json").write(b"{}")

    assert place.is_local
    assert (tmp_path / "a run #1?" / "summary.json").read_bytes() == b"{}"


def test_an_object_storage_path_is_the_same_location(tmp_path: Path) -> None:
    place = locate(ObjectStoragePath(f"file://{tmp_path}/run"))

    assert (place.path, place.uri, place.is_local) == (f"{tmp_path}/run", f"file://{tmp_path}/run", True)


def test_a_scheme_that_airflow_does_not_know_is_opened_by_fsspec() -> None:
    place = locate("memory://bucket/run")

    (place / "summary.json").write(b"{}")

    assert fsspec.filesystem("memory").cat("/bucket/run/summary.json") == b"{}"


def test_the_connection_opens_the_file_system_and_stays_in_the_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def get_fs(scheme: str, conn_id: str | None = None, storage_options: Any = None) -> Any:
        asked.append((scheme, conn_id))
        return fsspec.filesystem("memory")

    # Airflow's registry of file systems. No provider for object stores is installed here.
    monkeypatch.setattr("airflow.sdk.io.get_fs", get_fs)
    monkeypatch.setattr("airflow_gemini_batch._locations.has_fs", lambda scheme: scheme == "s3")

    place = locate("s3://lake@bucket/run/")

    assert asked == [("s3", "lake")]
    assert place.uri == "s3://lake@bucket/run"
    assert "lake" not in place.path


def test_a_uri_with_a_connection_but_without_its_provider_is_refused() -> None:
    with pytest.raises(InputError, match=r"names the connection 'lake', but no installed Airflow provider opens gs://"):
        locate("gs://lake@bucket/run")


def test_a_scheme_that_nothing_opens_is_refused() -> None:
    with pytest.raises(InputError, match="No installed package opens floppy://a/run"):
        locate("floppy://a/run")


def test_paths_in_a_source_become_uris_and_tables_are_not_changed() -> None:
    table = object()

    assert plain_source(table) is table
    assert plain_source([ObjectStoragePath("s3://lake@bucket/a"), "b"]) == ["s3://lake@bucket/a", "b"]
    assert uri_of(ObjectStoragePath("s3://bucket/a", conn_id="lake")) == "s3://lake@bucket/a"
