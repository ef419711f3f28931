"""Images that the model makes, in the table or in files beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.specs import GenerateRequest
from tests.integration.engine.conftest import read

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("modalities", [["TEXT", "IMAGE"], ["IMAGE"]])
def test_images_are_bytes_in_the_table(modalities: list[str], go: Go, tmp_path: Path) -> None:
    summary = go(request=GenerateRequest(prompt="Draw ${body}", config={"response_modalities": modalities}))

    assert (summary.results, summary.balanced) == (12, True)
    rows = read(tmp_path, "results")
    for row in rows:
        [medium] = row["media"]
        assert medium["mime_type"] == "image/png"
        assert medium["data"].startswith(PNG)
        assert (row["text"] is None) == (modalities == ["IMAGE"])
    assert len({row["media"][0]["data"] for row in rows}) == 12
    assert not (tmp_path / "run/results_media").exists()


def test_images_are_files_named_by_their_keys(go: Go, tmp_path: Path) -> None:
    request = GenerateRequest(prompt="Draw ${body}", config={"response_modalities": ["TEXT", "IMAGE"]})

    go(request=request, media_to="files", keep_response=False)

    rows = read(tmp_path, "results")
    uris = [row["media"][0]["uri"] for row in rows]
    assert all(Path(uri).read_bytes().startswith(PNG) for uri in uris)
    assert all(Path(uri).name.startswith(f"{row['key']}-") for uri, row in zip(uris, rows, strict=True))
    assert {Path(uri) for uri in uris} == set((tmp_path / "run/results_media").glob("part-*/*.png"))


def test_a_torn_part_is_written_anew_as_it_was(go: Go, tmp_path: Path) -> None:
    request = GenerateRequest(prompt="Draw ${body}", config={"response_modalities": ["IMAGE"]})
    go(request=request, media_to="files", keep_response=False)
    before = read(tmp_path, "results")
    (tmp_path / "run/results/part-00001-0.parquet").write_bytes(b"torn")
    (tmp_path / "run/summary.json").unlink()

    go(request=request, media_to="files", keep_response=False)

    assert read(tmp_path, "results") == before


def test_media_that_go_into_the_table_at_last_leave_no_files(go: Go, tmp_path: Path) -> None:
    request = GenerateRequest(prompt="Draw ${body}", config={"response_modalities": ["IMAGE"]})
    go(request=request, media_to="files")
    (tmp_path / "run/results/part-00001-0.parquet").write_bytes(b"torn")
    (tmp_path / "run/_run/ledger/00001-0.landed.json").unlink()
    (tmp_path / "run/summary.json").unlink()

    go(request=request, media_to="column")

    assert not (tmp_path / "run/results_media/part-00001-0").exists()


def test_a_replaced_run_leaves_no_media_behind(go: Go, tmp_path: Path) -> None:
    go(request=GenerateRequest(prompt="Draw ${body}", config={"response_modalities": ["IMAGE"]}), media_to="files")

    go(if_exists="replace")

    assert not (tmp_path / "run/results_media").exists()


def test_an_unknown_place_is_refused(go: Go) -> None:
    with pytest.raises(InputError, match="media_to"):
        go(media_to="somewhere")
