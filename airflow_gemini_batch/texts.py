"""Texts about a run for Slack, mail and other messages. Airflow's notifiers send them; these are only the words.

Each function returns a Jinja template, which a notifier renders with the task's context, so it goes
where a notifier takes a text:

    GeminiBatchOperator(
        …,
        on_success_callback=SlackNotifier(channel="data", text=summary_text()),
        on_failure_callback=SmtpNotifier(to="data@example.com", html_content=failure_text("html")),
    )

What comes from the run (messages of the service, names, paths) is escaped for the markup, so that no row can mention a channel or
bring a tag into a mail.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Markup: TypeAlias = Literal["slack", "html", "plain"]

#: Marks in the templates below -> what they are in each markup. ``@esc`` makes any text harmless.
_MARKS: dict[str, dict[str, str]] = {
    "slack": {
        "@esc": " | string | replace('&', '&amp;') | replace('<', '&lt;') | replace('>', '&gt;')",
        "@link": "<{{ ti.log_url }}|Task and log>",
        "@b": "*",
        "@/b": "*",
        "@br": "\n",
    },
    "html": {
        "@esc": " | string | e",
        "@link": '<a href="{{ ti.log_url | e }}">Task and log</a>',
        "@b": "<b>",
        "@/b": "</b>",
        "@br": "<br>\n",
    },
    "plain": {"@esc": " | string", "@link": "Task and log: {{ ti.log_url }}", "@b": "", "@/b": "", "@br": "\n"},
}

#: Messages may be pages long.
_SHORT = " | string | truncate(300, True)"

_SUMMARY = (
    "{% set summary = ti.xcom_pull(@pulled) %}"
    "@b{{ ti.dag_id@esc }} · {{ @task@esc }}@/b: "
    "{% if summary is mapping %}"
    "{{ '{:,}'.format(summary.results) }} of {{ '{:,}'.format(summary.rows) }} rows have a result"
    "{% if summary.dead_letter %}, dead letters: {{ '{:,}'.format(summary.dead_letter) }} ("
    "{% for reason, rows in summary.reasons.items() %}{{ reason@esc }} {{ '{:,}'.format(rows) }}"
    "{% if not loop.last %}, {% endif %}{% endfor %}){% endif %}"
    "@br{{ summary.model@esc }} · jobs: {{ '{:,}'.format(summary.jobs | length) }}"
    "{% if summary.cost.usd is not none %} · {{ '$%.4g' | format(summary.cost.usd) }}{% endif %}"
    "{% for reason, messages in summary.dead_letter_messages.items() %}"
    "@br{{ reason@esc }}: {{ messages[0].message@short@esc }}"
    "{% endfor %}"
    "@br{{ summary.destination@esc }}"
    "{% else %}no summary was returned{% endif %}"
    "@br@link"
)

# A callback that is called by the DAG processor has no exception, and a task of another operator has no destination.
_FAILURE = (
    "@b{{ ti.dag_id@esc }} · {{ ti.task_id@esc }} failed@/b (try {{ ti.try_number }}): "
    "{{ exception | default(reason | default('no reason is known'))@short@esc }}"
    "{% if ti.task.standing | default('') %}@br{{ ti.task.standing@esc }}{% endif %}"
    "{% if ti.task.destination | default('') %}@br{{ ti.task.destination@esc }}{% endif %}"
    "@br@link"
)


def summary_text(markup: Markup = "slack", *, task_id: str | None = None) -> str:
    """The template of a text about a finished run: counts, reasons with their most frequent message, cost, and where to look.

    :param markup: how it is written: ``slack``, ``html`` or ``plain``. Default: ``slack``.
    :param task_id: the task whose summary it is about, in the same DAG run. Default: the task whose callback it is.
    """
    own = "task_ids=ti.task_id, map_indexes=ti.map_index"
    pulled, name = (own, "ti.task_id") if task_id is None else (f"task_ids={task_id!r}", repr(task_id))
    return _written(_SUMMARY, markup, {"@pulled": pulled, "@task": name})


def failure_text(markup: Markup = "slack") -> str:
    """The template of a text about a task that failed: why, how far its run is and what it has cost, and where to look.

    :param markup: how it is written: ``slack``, ``html`` or ``plain``. Default: ``slack``.
    """
    return _written(_FAILURE, markup, {})


def _written(template: str, markup: str, more: dict[str, str]) -> str:
    if markup not in _MARKS:
        from airflow_gemini_batch.engine.errors import InputError

        raise InputError(f"markup is {markup!r}; expected one of {', '.join(map(repr, _MARKS))}.")
    # Longest first: @b begins @br.
    marks = {**_MARKS[markup], "@short": _SHORT, **more}
    for mark in sorted(marks, key=len, reverse=True):
        template = template.replace(mark, marks[mark])
    return template
