"""The page of a finished run: complete, small and harmless, whatever the run is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_gemini_batch.engine.costs.bounds import CostBounds
from airflow_gemini_batch.engine.costs.total import Basis, Cost
from airflow_gemini_batch.engine.errors import DestinationError
from airflow_gemini_batch.engine.finish.messages import MessageCount
from airflow_gemini_batch.engine.finish.summary import JobSummary, Summary
from airflow_gemini_batch.engine.reasons import Reason
from airflow_gemini_batch.engine.report import summary_page
from airflow_gemini_batch.engine.report.summary_page import MOST_BYTES, draw_summary_page, redraw_summary_page
from airflow_gemini_batch.engine.run.layout import Manifest, Run, Shard, SourceInfo
from airflow_gemini_batch.engine.run.storage import locate
from tests.markup import EVIL, Markup, require_harmless, require_self_contained

TEXTS = st.one_of(st.just(EVIL), st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.just("x" * 100_000))


def manifest(**changes: Any) -> Manifest:
    given: dict[str, Any] = {
        "run_id": "0123456789abcdef",
        "model": "gemini-3.6-flash",
        "source": SourceInfo("reviews.parquet", None),
        "request": {"type": "generate", "prompt": "Describe ${body}", "request": {"generation_config": {"temperature": 0.5}}},
        "key": "id",
        "carry": (),
        "shards": (Shard(0, 2, 2, 10, "", bounds=CostBounds(0.01, 0.5)),),
        "created_at": "2026-11-27T06:00:00+00:00",
        "owner": "shop/scheduled__2026-11-27T00:00:00+00:00/describe/-1",
    }
    return Manifest(**(given | changes))


def summary(**changes: Any) -> Summary:
    given: dict[str, Any] = {
        "run_id": "0123456789abcdef",
        "model": "gemini-3.6-flash",
        "source": "reviews.parquet",
        "destination": "s3://bucket/runs/reviews",
        "rows": 100,
        "results": 90,
        "dead_letter": 10,
        "reasons": {"BLOCKED": 7, "EMPTY": 3},
        "aside": {},
        "tokens": {},
        "jobs": (JobSummary("batches/a", 0, 0, "SUCCEEDED", 100, "2026-11-27T06:00:00Z", "2026-11-27T07:30:00Z", 0.25),),
        "balanced": True,
        "started_at": "2026-11-27T05:59:00+00:00",
        "finished_at": "2026-11-27T07:31:00+00:00",
        "cost": Cost(0.25, Basis("genai-prices 0.2.3", "gemini-3.6-flash", rates={"": {"input": 0.15}}), interactive_usd=0.5),
        "requests": 100,
        "labels": {"team": "search"},
    }
    return Summary(**(given | changes))


def write_tables(folder: Path, letters: list[dict[str, Any]], results: list[dict[str, Any]]) -> Run:
    for table in ("results", "dead_letter"):
        (folder / table).mkdir(exist_ok=True)
    schema = {"key": pa.string(), "reason": pa.string(), "code": pa.int32(), "status": pa.string(), "message": pa.string(),
              "request": pa.string(), "response": pa.string()}  # fmt: skip
    pq.write_table(pa.Table.from_pylist(letters, pa.schema(schema)), folder / "dead_letter/part-00000-0.parquet")
    schema = {"key": pa.string(), "text": pa.string(), "prompt_tokens": pa.int64(), "output_tokens": pa.int64()}
    pq.write_table(pa.Table.from_pylist(results, pa.schema(schema)), folder / "results/part-00000-0.parquet")
    return Run(locate(str(folder)))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    letters = [{"key": f"b{n}", "reason": "BLOCKED", "message": "no", "request": '{"contents": []}'} for n in range(12)]
    letters += [{"key": f"e{n}", "reason": "EMPTY", "code": 13, "status": "INTERNAL", "message": ""} for n in range(3)]
    results = [{"key": f"r{n}", "text": f"answer {n}", "prompt_tokens": 10 + n, "output_tokens": 100 * n} for n in range(90)]
    return write_tables(tmp_path, letters, results)


def test_it_says_what_came_out_and_what_it_cost(run: Run) -> None:
    markup = Markup(draw_summary_page(run, manifest(), summary()))

    for said in (
        *(
            "reviews",
            "s3://bucket/runs/reviews",
            "team=search",
            "gemini-3.6-flash",
            "90 results",
            "10 dead letters",
            "1 h 32 min",
        ),
        *("$0.25", "$0.50", "input $0.15 per million tokens", "estimated before, at most"),
        *("BLOCKED", "7 % of all rows", "b0", "b9", "13 INTERNAL", "answer 4", "Describe ", "${body}", "temperature"),
        *("scheduled__2026-11-27T00:00:00+00:00", "describe", "90 results: median 4,", "1 h 30 min · 100 requests · $0.25"),
    ):
        assert said in markup.text, said
    assert "b10" not in markup.text
    assert "answer 5" not in markup.text


def test_it_asks_for_nothing_and_its_policy_names_its_style(run: Run) -> None:
    require_self_contained(draw_summary_page(run, manifest(), summary()))


def test_evil_texts_are_harmless_wherever_they_are(tmp_path: Path) -> None:
    letter = {"key": EVIL, "reason": EVIL, "message": EVIL, "request": EVIL, "response": EVIL, "status": EVIL}
    run = write_tables(tmp_path, [letter], [{"key": EVIL, "text": EVIL, "prompt_tokens": 1}])
    asked = {"prompt": EVIL + " ${" + EVIL + "}", "request": {"system_instruction": {"parts": [{"text": EVIL}]}, EVIL: EVIL}}
    jobs = (JobSummary(EVIL, 0, 0, EVIL, 1, "2026-11-27T06:00:00Z", "2026-11-27T07:30:00Z"),)
    told = {"model": EVIL, "source": EVIL, "destination": EVIL, "labels": {EVIL: EVIL}, "run_id": EVIL, "jobs": jobs}
    cost = Cost(1.0, Basis(EVIL, EVIL, EVIL, EVIL, {EVIL: {EVIL: 1.0}}, (EVIL,)), tokens={EVIL: 1})
    made = summary(reasons={EVIL: 1}, dead_letter_messages={EVIL: (MessageCount(EVIL, 1),)}, cost=cost, **told)

    page = draw_summary_page(run, manifest(request=asked, owner=f"{EVIL}/{EVIL}/{EVIL}/{EVIL}", model=EVIL), made)

    markup = require_harmless(page, MOST_BYTES)
    assert markup.text.count("<script>alert(1)") >= 15
    assert "\\x1b[31m" in markup.text
    assert "\\u202e" in markup.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(("key", "message", "request", "response"), TEXTS)), max_size=12), TEXTS)
def test_whatever_the_texts_are_the_page_is_small_and_harmless(tmp_path: Path, letters: list[dict[str, Any]], text: str) -> None:
    run = write_tables(tmp_path, [{**each, "reason": "BLOCKED"} for each in letters], [{"key": "r", "text": text}])

    page = draw_summary_page(
        run, manifest(request={"prompt": text}), summary(reasons={"BLOCKED": len(letters)}, labels={text: text})
    )

    require_harmless(page, MOST_BYTES)


@pytest.fixture
def huge(tmp_path: Path) -> tuple[Run, Manifest, Summary]:
    """10,000 shards, a thousand reasons, and texts that become several times as long when they are made harmless."""
    reasons = [*Reason, *(f"REASON_{number}" for number in range(1000))]
    texts = dict.fromkeys(("message", "request", "response"), "<\x1b&" * 50000)
    letters = [{"key": f"{reason}-{row}", "reason": str(reason), **texts} for reason in reasons[:14] for row in range(11)]
    run = write_tables(
        tmp_path, letters, [{"key": "<" * 9999, "text": "\x1b" * 9999, "output_tokens": n * n} for n in range(2000)]
    )
    counts = {str(reason): 5_000 - number for number, reason in enumerate(reasons)}
    messages = {reason: tuple(MessageCount("\x00" * 9999 + str(number), 3) for number in range(3)) for reason in counts}
    jobs = tuple(
        JobSummary(f"batches/{n}", n, 0, "SUCCEEDED", 100, f"2026-11-27T06:{n % 60:02}:00Z", "2026-11-27T07:30:00Z", 1e-5)
        for n in range(10_000)
    )
    asked = {"prompt": "${a}" * 50_000, "request": {"system_instruction": {"parts": [{"text": "&" * 100_000}]}}}
    shards = tuple(Shard(n, 100, 100, 10, "") for n in range(10_000))
    labels = {f"label{n}": "&" * 500 for n in range(500)}
    made = summary(reasons=counts, jobs=jobs, dead_letter_messages=messages, labels=labels, source="<" * 9999, rows=4_600_000)

    return run, manifest(request=asked, shards=shards), made


def test_a_huge_run_has_a_small_page_that_says_what_is_left_out(huge: tuple[Run, Manifest, Summary]) -> None:
    page = draw_summary_page(*huge)

    text = require_harmless(page, MOST_BYTES).text
    assert "9,970 more jobs" in text
    assert "997 more reasons" in text
    assert "characters left out" in text
    assert "and 488 more" in text
    assert "more rows with this reason" in text


def test_where_texts_do_not_fit_all_of_them_are_cut_further(
    huge: tuple[Run, Manifest, Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_page, "MOST_BYTES", 100_000)

    page = draw_summary_page(*huge)

    text = require_harmless(page, MOST_BYTES).text
    assert len(page) <= 100_000
    assert re.search(r"Texts are cut to (50|20|5) % of their usual length", text)
    assert "997 more reasons" in text


def test_a_run_without_anything_has_a_page(tmp_path: Path) -> None:
    run = write_tables(tmp_path, [], [])
    nothing = {"rows": 0, "results": 0, "dead_letter": 0, "reasons": {}, "jobs": (), "cost": Cost(None, Basis("unknown", ""))}

    text = require_harmless(
        draw_summary_page(run, manifest(owner=None, request={}, shards=()), summary(**nothing)), MOST_BYTES
    ).text

    assert "no rows" in text
    assert "no Airflow task" in text
    assert "The cost is not known." in text


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ("a/b/c/-1", ["a", "b", "c"]),
        ("a/b/with/slashes/c/7", ["a", "b/with/slashes", "c [7]"]),
        ("odd", ["a notebook, a script or the command line; no Airflow task"]),
    ],
)
def test_the_task_instance_that_built_it_is_named(run: Run, owner: str, said: list[str]) -> None:
    texts = Markup(draw_summary_page(run, manifest(owner=owner), summary())).texts

    place = texts.index("DAG" if len(said) == 3 else "built by")
    assert [text for text in texts[place:] if text in said] == said


def test_a_run_that_is_not_finished_has_no_page(tmp_path: Path) -> None:
    run = Run(locate(str(tmp_path)))
    with pytest.raises(DestinationError, match="holds no run"):
        redraw_summary_page(run)

    run.manifest_file.write(msgspec.json.encode(manifest()))
    with pytest.raises(DestinationError, match=r"is not finished: .*summary\.json is absent"):
        redraw_summary_page(run)
