"""benchmarks/simulate.py: the run on paper loses no row, keeps every limit, and takes the time that can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulate import HOUR, Plan, Rates, simulate

#: Ten shards of 1,000 rows, of which each is 10 kB there and 20 kB back.
SMALL = Plan(rows=10_000, request_bytes=10, answer_bytes=20, tokens=100, shard_rows=1000, workers=4)
#: Nothing fails, and every job takes one hour.
SMOOTH = Rates(job_hours=1, job_spread=0, failed=0, stuck=0, failed_rows=0)


@settings(max_examples=50)
@given(
    st.integers(1, 20_000), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.floats(0, 0.5), st.floats(0, 0.5),
    st.floats(0, 1), st.integers(0, 3), st.integers(0, 9),
)  # fmt: skip
def test_every_row_lands_or_is_dead_within_the_limits(
    rows: int, jobs: int, workers: int, projects: int, failed: float, stuck: float, failed_rows: float, redrives: int, seed: int
) -> None:
    plan = replace(
        SMALL, rows=rows, jobs=jobs, workers=workers, projects=projects, max_redrives=redrives, enqueued_tokens=250_000
    )

    found = simulate(plan, Rates(failed=failed, stuck=stuck, failed_rows=failed_rows), seed=seed)

    assert found.landed + found.dead == rows
    assert found.peak["jobs"] <= jobs * projects
    assert found.peak["tokens"] <= 250_000 * projects
    assert found.peak["workers"] <= workers
    assert sum(found.held_up.values()) <= found.seconds + 1e-6


def test_a_seed_gives_the_same_run() -> None:
    assert simulate(SMALL, seed=1) == simulate(SMALL, seed=1) != simulate(SMALL, seed=2)


def _step(plan: Plan, rates: Rates = SMOOTH) -> tuple[float, float]:
    """Seconds of the upload of a shard, and of the landing of its answer."""
    upload = rates.task + plan.rows_of_shard * plan.request_bytes / rates.transfer
    land = rates.task + plan.rows_of_shard * plan.answer_bytes / rates.transfer + plan.rows_of_shard / rates.land
    return upload, land


def test_with_room_for_the_tokens_of_one_shard_jobs_go_one_after_the_other() -> None:
    plan = replace(SMALL, enqueued_tokens=100_000)

    found = simulate(plan, SMOOTH)

    upload, land = _step(plan)
    assert found.seconds == pytest.approx(plan.rows / SMOOTH.build + 10 * (upload + HOUR) + land)
    assert found.worker_seconds == pytest.approx(plan.rows / SMOOTH.build + 10 * (upload + land))
    assert (found.created, found.limit, found.peak["jobs"]) == (10, "tokens", 1)


def test_without_limits_that_matter_the_run_takes_one_job() -> None:
    plan = replace(SMALL, workers=10)

    found = simulate(plan, SMOOTH)

    upload, land = _step(plan)
    assert found.seconds == pytest.approx(plan.rows / SMOOTH.build + upload + HOUR + land)
    assert (found.limit, found.held_up) == ("answers", {})


def test_outputs_that_cannot_be_deleted_hold_up_the_uploads() -> None:
    # There is room for five inputs; their outputs fill the storage until they expire, and then for the other five.
    plan = replace(SMALL, storage=50_000, workers=10)

    found = simulate(plan, SMOOTH)
    undelayed = simulate(replace(plan, kept=0.0), SMOOTH)

    upload, land = _step(plan)
    assert found.seconds == pytest.approx(plan.rows / SMOOTH.build + 2 * (upload + HOUR) + plan.kept + land)
    assert found.limit == "storage"
    assert undelayed.seconds == pytest.approx(found.seconds - plan.kept)


def test_a_stuck_job_is_given_up_and_its_rows_die_after_the_last_redrive() -> None:
    found = simulate(replace(SMALL, workers=10), replace(SMOOTH, stuck=1.0))

    assert (found.landed, found.dead, found.created) == (0, 10_000, 20)
    assert found.seconds > 2 * SMOOTH.stuck_after


def test_a_job_of_more_than_two_days_expires() -> None:
    found = simulate(replace(SMALL, workers=10, max_redrives=0), replace(SMOOTH, job_hours=100))

    upload, _ = _step(SMALL)
    assert (found.landed, found.dead) == (0, 10_000)
    assert found.seconds == pytest.approx(SMALL.rows / SMOOTH.build + upload + 48 * HOUR)


def test_failed_rows_go_into_a_job_of_their_own() -> None:
    found = simulate(SMALL, replace(SMOOTH, failed_rows=0.1))

    assert (found.created, found.dead, found.landed) == (20, 10 * 10, 10_000 - 100)


def test_more_projects_are_faster() -> None:
    plan = replace(SMALL, rows=100_000, jobs=2)

    seconds = [simulate(replace(plan, projects=projects), SMOOTH).seconds for projects in (1, 2, 10)]

    assert seconds == sorted(set(seconds), reverse=True)


@pytest.mark.parametrize("change", [{"enqueued_tokens": 99}, {"storage": 9_999}])
def test_what_no_job_could_hold_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="below one row, or storage below one shard"):
        simulate(replace(SMALL, **change))  # type: ignore[arg-type]
