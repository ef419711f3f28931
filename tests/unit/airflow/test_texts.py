"""Texts about runs: what they say, and that no row can write into them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_gemini_batch import InputError, failure_text, summary_text

SUMMARY = {
    "rows": 12_000,
    "results": 11_990,
    "dead_letter": 10,
    "reasons": {"BLOCKED": 9, "MISSING": 1},
    "dead_letter_messages": {"BLOCKED": [{"message": "<!channel> <b>a & b</b>", "rows": 9}], "MISSING": [{"message": "m" * 999}]},
    "model": "gemini-3.6-flash",
    "jobs": [{}, {}],
    "cost": {"usd": 3.14159},
    "destination": "s3://lake/summaries",
}


def rendered(template: str, summary: Any = SUMMARY, **context: Any) -> str:
    pulled: dict[str, Any] = {}

    def xcom_pull(**arguments: Any) -> Any:
        pulled.update(arguments)
        return summary

    ti = SimpleNamespace(
        dag_id="reviews",
        task_id="summarise",
        map_index=3,
        try_number=2,
        log_url="http://airflow/dags/reviews",
        xcom_pull=xcom_pull,
        task=SimpleNamespace(standing="3 of 12 rows done", destination="s3://lake/summaries"),
    )
    # As notifiers are rendered: undefined names are errors.
    environment = DAG("reviews").get_template_env()
    return environment.from_string(template).render(ti=ti, **context)


def test_a_summary_is_four_lines_and_the_messages() -> None:
    lines = rendered(summary_text("plain")).splitlines()

    assert lines[:2] == [
        "reviews · summarise: 11,990 of 12,000 rows have a result, dead letters: 10 (BLOCKED 9, MISSING 1)",
        "gemini-3.6-flash · jobs: 2 · $3.142",
    ]
    assert lines[2] == "BLOCKED: <!channel> <b>a & b</b>"
    assert lines[3].endswith("m...")
    assert len(lines[3]) < 350
    assert lines[4:] == ["s3://lake/summaries", "Task and log: http://airflow/dags/reviews"]


def test_nothing_of_a_row_is_markup() -> None:
    assert "BLOCKED: &lt;!channel&gt; &lt;b&gt;a &amp; b&lt;/b&gt;" in rendered(summary_text())
    assert "<br>\nBLOCKED: &lt;!channel&gt; &lt;b&gt;a &amp; b&lt;/b&gt;<br>" in rendered(summary_text("html"))
    assert "&lt;!here&gt;" in rendered(failure_text(), exception="<!here>")
    assert "&lt;script&gt;" in rendered(failure_text("html"), exception="<script>")


def test_values_of_the_run_are_not_rendered_again() -> None:
    assert "{{ conn.gemini_default.password }}" in rendered(failure_text("plain"), exception="{{ conn.gemini_default.password }}")


def test_slack_and_mail_link_to_the_task() -> None:
    assert rendered(summary_text()).endswith("<http://airflow/dags/reviews|Task and log>")
    assert rendered(summary_text("html")).endswith('<a href="http://airflow/dags/reviews">Task and log</a>')


def test_a_run_without_dead_letters_or_known_cost_says_less() -> None:
    clean = {**SUMMARY, "results": 12_000, "dead_letter": 0, "reasons": {}, "dead_letter_messages": {}, "cost": {"usd": None}}

    assert rendered(summary_text("plain"), clean).splitlines()[:2] == [
        "reviews · summarise: 12,000 of 12,000 rows have a result",
        "gemini-3.6-flash · jobs: 2",
    ]


def test_a_summary_of_another_task() -> None:
    assert rendered(summary_text(task_id="finish")).startswith("*reviews · finish*")


def test_a_task_that_returned_nothing_is_said() -> None:
    assert "no summary was returned" in rendered(summary_text(), None)


def test_a_failure_says_why_and_how_far_the_run_is() -> None:
    assert rendered(failure_text("plain"), exception=ValueError("no key")).splitlines() == [
        "reviews · summarise failed (try 2): no key",
        "3 of 12 rows done",
        "s3://lake/summaries",
        "Task and log: http://airflow/dags/reviews",
    ]
    assert "timed out" in rendered(failure_text(), reason="timed out")
    assert "no reason is known" in rendered(failure_text())


def test_another_markup_is_refused() -> None:
    with pytest.raises(InputError, match="markup is 'teams'; expected one of 'slack', 'html', 'plain'"):
        summary_text("teams")  # type: ignore[arg-type]
