"""The operator resubmits what may succeed (dead letters, stuck jobs, lost jobs), and waits for late outputs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from airflow_gemini_batch import GeminiBatchOperator, GenerateRequest
from airflow_gemini_batch._compat import AirflowFailException
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, RowFault
from airflow_gemini_batch.engine.gemini.client import Endpoint, GeminiClient
from tests.integration.airflow.conftest import KEY, Passes, created

Describe = Callable[..., GeminiBatchOperator]


@pytest.mark.parametrize("deferrable", [True, False])
def test_retryable_dead_letters_are_resubmitted_once(deferrable: bool, describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", code=14, lines=[1, 2], display_name="attempt 0"))

    summary = Passes(describe(deferrable=deferrable)).finish()

    assert (summary["results"], summary["dead_letter"], summary["balanced"]) == (12, 0, True)
    assert sorted(job["attempt"] for job in summary["jobs"]) == [0, 0, 0, 1, 1, 1]


def test_without_redrives_retryable_rows_are_dead_letters(describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(RowFault(do="error", code=14, lines=[1], display_name="attempt 0"))

    summary = Passes(describe(options={"max_redrives": 0})).finish()

    assert (summary["results"], summary["reasons"]) == (9, {"REQUEST_ERROR": 3})
    assert len(created(emulator)) == 3


@pytest.mark.parametrize(("limit", "results"), [(None, 0), (500, 12)])
def test_truncated_rows_are_resubmitted_with_a_higher_limit(
    limit: int | None, results: int, describe: Describe, emulator: Emulator
) -> None:
    asked = GenerateRequest(prompt="Repeat: ${body}", config={"max_output_tokens": 1})

    summary = Passes(describe(request=asked, options={"redrive_max_output_tokens": limit, "max_dead_letter_ratio": 1.0})).finish()

    assert summary["results"] == results
    assert summary["reasons"] == ({} if results else {"TRUNCATED": 12})


def test_a_stuck_job_is_cancelled_and_its_rows_are_resubmitted(describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(do="hang", display_name="shard 1 attempt 0"))

    passes = Passes(describe(options={"resubmit_stuck_after": timedelta(seconds=1.2)}))
    summary = passes.finish()

    assert (summary["results"], summary["balanced"]) == (12, True)
    assert [job["state"] for job in summary["jobs"]].count("CANCELLED") == 1
    assert len(created(emulator)) == len(set(created(emulator))) == 5


@pytest.mark.parametrize("resubmit", [False, True])
def test_a_lost_job_is_resubmitted_only_if_configured(resubmit: bool, describe: Describe, emulator: Emulator) -> None:
    passes = Passes(describe(options={"resubmit_lost": resubmit})).start()
    with GeminiClient(Endpoint(api_key=KEY, base_url=emulator.url)) as client:
        client.delete_job(emulator.jobs()[0]["name"])

    if resubmit:
        while not passes.ended:
            passes.resume()
        assert passes.result["results"] == 12
    else:
        with pytest.raises(AirflowFailException, match="resubmit_lost=True"):
            passes.resume()
    assert len(created(emulator)) == (4 if resubmit else 3)


def test_collecting_may_outlast_the_timeout_without_changing_it(
    describe: Describe, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_gemini_batch.engine.passes.collecting._ASK_AGAIN", 1.0)
    passes = Passes(describe(options={"timeout": timedelta(seconds=3), "max_active_jobs": 3})).start()
    emulator.advance(60)
    assert emulator.wait_idle()
    emulator.faults.add(HttpFault(do="status", status=429, path=":download", count=6))

    deadlines: set[float] = {passes.trigger.deadline}
    while not passes.ended:
        passes.resume()
        if passes.deferred is not None:
            deadlines.add(passes.trigger.deadline)
            assert passes.trigger.until >= passes.trigger.deadline

    assert len(deadlines) == 1
    assert passes.result["results"] == 12


def test_the_wait_for_an_unnamed_output_may_outlast_the_timeout(describe: Describe, emulator: Emulator) -> None:
    emulator.faults.add(JobFault(responses_file_late_seconds=3600))
    passes = Passes(describe(options={"timeout": timedelta(seconds=3)})).start()

    while len(passes.trigger.late) < 3:
        passes.resume()

    assert passes.trigger.until > passes.trigger.deadline
    emulator.advance(2 * 3600)
    while not passes.ended:
        passes.resume()
    assert passes.result["results"] == 12
