"""When the dead letters of a run fail it, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault
from airflow_gemini_batch.engine.errors import DeadLetterRatioError
from airflow_gemini_batch.engine.finish.summary import Summary
from tests.integration.engine.conftest import read

pytestmark = pytest.mark.integration

Go = Callable[..., Summary]


def test_above_the_dead_letter_ratio_the_call_fails_after_everything_is_written(
    go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    emulator.faults.add(RowFault(do="error", fraction=1.0, code=3))

    with pytest.raises(DeadLetterRatioError, match="12 of 12 rows"):
        go(max_dead_letter_ratio=0.5)

    assert (tmp_path / "run/summary.json").exists()
    assert len(read(tmp_path, "dead_letter")) == 12


@pytest.mark.parametrize(("failing", "fails"), [(12, True), (11, False)])
def test_a_run_without_any_result_fails_by_default_after_everything_is_written(
    failing: int, fails: bool, go: Go, tmp_path: Path, emulator: Emulator
) -> None:
    keys = tuple(f"k{number}" for number in range(failing))
    emulator.faults.add(RowFault(do="error", keys=keys, code=3, message="no such model"))

    if fails:
        with pytest.raises(DeadLetterRatioError, match=r"None of 12 requests .*: REQUEST_ERROR 12.*'no such model' \(12\)"):
            go()
    else:
        assert go().results == 1

    assert (tmp_path / "run/summary.json").exists()


def test_rows_that_never_became_requests_do_not_fail_a_run(go: Go) -> None:
    bodies = pa.array([None, None], pa.string())

    assert go(source=pa.table({"id": ["a", "b"], "body": bodies})).dead_letter == 2


def test_dead_letters_are_a_warning_with_reasons_messages_and_the_path(
    go: Go, tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.faults.add(
        RowFault(do="error", keys=("k1", "k2"), code=3, message="no such model"), RowFault(do="safety", keys=("k3",))
    )

    summary = go()

    [warning] = [record.getMessage() for record in caplog.records if "dead letters (" in record.getMessage()]
    assert "3 of 12 rows are dead letters (REQUEST_ERROR 2, BLOCKED 1)" in warning
    assert "'no such model' (2)" in warning
    assert f"{tmp_path}/run/dead_letter" in warning
    assert summary.as_dict()["dead_letter_messages"]["REQUEST_ERROR"] == [{"message": "no such model", "rows": 2}]
