"""Whose turn it is among the jobs of a project."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from airflow_gemini_batch.engine.project_limits import ProjectLimits
from airflow_gemini_batch.engine.slots.state import Demand, Obstacle, State, accepted, not_created, refused, released, take

FLASH, PRO = "gemini-3.6-flash", "gemini-3.5-pro"


def demand(group: str = "a", model: str = FLASH, tokens: int = 10, usd: float = 0.0) -> Demand:
    return Demand(group, model, tokens, usd)


class Project:
    """A state that changes, and its clock."""

    def __init__(self, **limits: object) -> None:
        self.limits = ProjectLimits("limits", **limits)  # type: ignore[arg-type]
        self.state = State()
        self.now = 1_000.0
        self.probes = False

    def take(self, token: str, wanted: Demand | None = None) -> Obstacle | None:
        self.state, answer = take(self.state, self.limits, token, wanted or demand(token[0]), self.now)
        self.probes = answer.probes
        return answer.obstacle

    def end(self, *tokens: str) -> None:
        self.state = released(self.state, *tokens)

    @property
    def holders(self) -> Counter[str]:
        return Counter(slot.demand.group for slot in self.state.slots.values())


def test_no_more_jobs_than_the_limit_and_a_place_that_is_held_is_given_again() -> None:
    project = Project(max_active_jobs=2)

    assert [project.take(token) is None for token in ("a1", "a2", "a3", "a1")] == [True, True, False, True]
    obstacle = project.take("a3")
    assert obstacle is not None
    assert obstacle.why == "2 jobs are active or next (a 2), max_active_jobs is 2"


def test_a_place_that_becomes_free_goes_to_the_group_that_has_the_fewest() -> None:
    project = Project(max_active_jobs=4)
    for token in ("a1", "a2", "a3", "a4"):
        project.take(token)
    assert project.take("a5")
    project.now += 10
    assert project.take("b1")

    project.end("a1")

    assert project.take("a5"), "b waits, and has no job"
    assert project.take("b1") is None
    project.end("a2")
    assert project.take("b2") is None or project.holders["b"] == 1
    project.end("a3", "a4")
    assert project.take("a5") is None


def test_among_groups_with_as_many_jobs_the_one_that_has_waited_longest_comes_first() -> None:
    project = Project(max_active_jobs=1)
    project.take("x1")
    for token in ("b1", "a1"):
        project.now += 1
        assert project.take(token)

    project.end("x1")

    assert project.take("a1")
    assert project.take("b1") is None


def test_a_group_that_does_not_come_back_keeps_its_turn_for_a_quarter_of_an_hour() -> None:
    project = Project(max_active_jobs=1)
    project.take("x1")
    assert project.take("b1")
    project.end("x1")
    project.now += 890
    assert project.take("a1")

    project.now += 20

    assert project.take("a1") is None


def test_tokens_are_counted_for_each_model() -> None:
    project = Project(max_enqueued_tokens={f"models/{FLASH}": 100})
    assert project.take("a1", demand(tokens=60)) is None

    obstacle = project.take("a2", demand(tokens=60))

    assert obstacle is not None
    assert obstacle.why == (f"about 60 tokens of {FLASH} are enqueued, 60 would be added, max_enqueued_tokens is 100")
    assert project.take("a3", demand(tokens=60, model=PRO)) is None
    for token in ("b1", "b2"):
        assert project.take(token, demand("b", tokens=10)) is None, "b has fewer jobs, so it comes before a"
    assert project.take("b3", demand("b", tokens=10)), "now a has waited longer, and nothing smaller passes it"


def test_a_shard_above_the_limit_is_sent_alone() -> None:
    project = Project(max_enqueued_tokens=100)

    assert project.take("a1", demand(tokens=500)) is None
    assert project.take("b1", demand("b", tokens=1))


def test_spend_counts_for_ten_minutes() -> None:
    project = Project(max_usd_per_10_minutes=10.0)
    assert project.take("a1", demand(usd=8.0)) is None
    project.end("a1")

    project.now += 590
    obstacle = project.take("a2", demand(usd=3.0))

    assert obstacle is not None
    assert obstacle.why == "about 8.00 USD were sent in ten minutes, max_usd_per_10_minutes is 10.00"
    assert obstacle.clears_at == 1_600.0
    project.now += 11
    assert project.take("a2", demand(usd=3.0)) is None


def test_a_refused_job_was_not_spent() -> None:
    project = Project(max_usd_per_10_minutes=10.0)
    for token in ("a1", "a2"):
        project.take(token, demand(usd=4.0))

    project.state = refused(project.state, "a2", demand(usd=4.0), None, project.now)
    project.now += 100

    assert project.state.sent == {"a1": (1_000.0, 4.0)}
    assert set(project.state.slots) == {"a1"}


def test_a_job_that_was_not_created_for_another_reason_was_not_spent_either() -> None:
    project = Project(max_usd_per_10_minutes=10.0)
    project.take("a1", demand(usd=8.0))

    project.state = not_created(project.state, "a1")

    assert project.take("a1", demand(usd=8.0)) is None
    assert project.state.sent == {"a1": (1_000.0, 8.0)}


def test_above_what_was_refused_one_job_at_a_time_is_tried() -> None:
    project = Project()
    for token in ("a1", "a2", "a3"):
        assert project.take(token) is None
    project.state = refused(project.state, "a3", demand(), None, project.now)

    obstacle = project.take("b1", demand("b"))
    assert obstacle is not None
    assert obstacle.why == f"the service took no more of {FLASH} 0 s ago, with 2 jobs and about 20 tokens in flight"
    assert obstacle.clears_at == 1_060.0
    assert project.take("c1", demand("c", model=PRO)) is None, "other models are not concerned"

    project.end("a1")
    assert project.take("b1", demand("b")) is None, "as much as the service has had is possible at once"
    assert project.probes
    project.now += 61
    assert project.take("d1", demand("d")) is None
    assert project.take("e1", demand("e")), "one at a time, until the service has answered"

    project.state = accepted(project.state, demand("d"), project.now)
    assert project.take("e1", demand("e")) is None


def test_refusals_in_a_row_are_tried_again_at_growing_distances() -> None:
    project = Project()
    waits = []
    for _ in range(4):
        assert project.take("a1") is None
        project.state = refused(project.state, "a1", demand(), None, project.now)
        waits.append(project.state.refusals[FLASH].not_before - project.now)
        project.now = project.state.refusals[FLASH].not_before

    assert waits == [60.0, 120.0, 240.0, 480.0]


def test_what_the_service_asks_for_is_waited() -> None:
    project = Project()
    project.take("a1")
    project.state = refused(project.state, "a1", demand(), 500.0, project.now)

    project.now += 499
    assert project.take("a1")
    project.now += 1
    assert project.take("a1") is None


def test_an_acceptance_below_what_was_refused_says_nothing() -> None:
    project = Project()
    for token in ("a1", "a2", "a3"):
        project.take(token)
    before = project.state = refused(project.state, "a3", demand(), None, project.now)
    project.end("a1")

    assert accepted(project.state, demand(), project.now).refusals == before.refusals


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from("abc"), st.integers(1, 60)),
        st.tuples(st.just("end"), st.sampled_from("abc"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.sampled_from("abc"), st.integers(1, 900)),
    ),
    max_size=60,
)


@given(steps=_STEPS, jobs=st.integers(1, 4), tokens=st.integers(40, 100))
def test_no_limit_is_ever_passed_and_somebody_can_always_go_on(steps: list[tuple[str, str, int]], jobs: int, tokens: int) -> None:
    project = Project(max_active_jobs=jobs, max_enqueued_tokens=tokens)
    for number, (step, group, value) in enumerate(steps):
        if step == "take":
            project.take(f"{group}{number}", demand(group, tokens=value))
        elif step == "end":
            mine = [token for token, slot in project.state.slots.items() if slot.demand.group == group]
            project.end(*mine[:value])
        else:
            project.now += value
        sizes = [slot.demand.tokens for slot in project.state.slots.values()]
        assert len(sizes) <= jobs
        assert sum(sizes) <= tokens or len(sizes) == 1

    project.end(*project.state.slots)
    waiting = {waiter.demand.group for waiter in project.state.now(project.now).waiters.values()} | {"z"}
    assert any(project.take(f"{group}-last", demand(group, tokens=1)) is None for group in sorted(waiting))
