"""Asks a person what to do about the dead letters of a finished run: resubmit them, discard them, or leave them where they are.

It follows every task with the outlet ``Asset("gemini_batch_runs")``. The question, with the reasons and their most frequent
messages, waits below *Required Actions* in Airflow's UI and takes no worker slot. The operator's ``notifiers`` tell people of it.
A discard deletes nothing: the run's ledger then says who decided that these letters are not sent again, and why.
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Asset, ObjectStoragePath, Param, task

from airflow_gemini_batch import GeminiBatchDiscardOperator, GeminiBatchRedriveOperator

RUNS = Asset("gemini_batch_runs")


def question(review: dict[str, Any]) -> dict[str, Any]:
    return {"subject": review["subject"], "body": review["body"]}


with DAG(
    dag_id="review_dead_letters",
    schedule=RUNS,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=15)},
    tags=["gemini", "example"],
    doc_md=__doc__,
):

    @task
    def letters(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """One review for each run with dead letters."""
        import json

        reviews = []
        for run in (event.extra for event in triggering_asset_events[RUNS]):
            if not run["dead_letter"]:
                continue
            summary = json.loads(ObjectStoragePath(f"{run['destination']}/summary.json").read_text())
            # Rows of which no request could be made have nothing to resubmit.
            reasons = [reason for reason in summary["reasons"] if reason != "INVALID_INPUT"]
            table = ["| reason | rows | most frequent message |", "|---|---|---|"]
            for reason, messages in summary["dead_letter_messages"].items():
                message = messages[0]["message"][:200].replace("|", " ").replace("\n", " ") if messages else ""
                table.append(f"| {reason} | {summary['reasons'].get(reason, 0)} | {message} |")
            subject = f"{run['dead_letter']} of {run['rows']} rows of {run['destination']} are dead letters"
            reviews.append({"destination": run["destination"], "reasons": reasons, "subject": subject, "body": "\n".join(table)})
        return reviews

    @task
    def to_redrive(reviews: Any, answers: Any) -> list[dict[str, Any]]:
        """Of the runs that are to be resubmitted: what to resubmit."""
        return [
            {"destination": review["destination"], "reasons": review["reasons"]}
            for review, answer in zip(reviews, answers, strict=True)
            if answer["chosen_options"] == ["Redrive"] and review["reasons"]
        ]

    @task
    def to_discard(reviews: Any, answers: Any) -> list[dict[str, Any]]:
        """Of the runs whose letters are to be discarded: who decided it, and why."""
        return [
            {
                "destination": review["destination"],
                "by": (answer.get("responded_by_user") or {}).get("name") or "somebody, in Airflow",
                "note": (answer.get("params_input") or {}).get("note") or "",
            }
            for review, answer in zip(reviews, answers, strict=True)
            if answer["chosen_options"] == ["Discard"]
        ]

    # Not a branch in a mapped task group: there, Airflow runs the branches that were not chosen too.
    reviews = letters()
    ask = HITLOperator.partial(
        task_id="ask",
        options=["Redrive", "Discard", "Leave"],
        params={"note": Param("", type="string", description="Why, for those who read a discard later")},
    ).expand_kwargs(reviews.map(question))
    GeminiBatchRedriveOperator.partial(task_id="redrive").expand_kwargs(to_redrive(reviews, ask.output))
    GeminiBatchDiscardOperator.partial(task_id="discard").expand_kwargs(to_discard(reviews, ask.output))
