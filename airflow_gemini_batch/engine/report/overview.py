"""One line about a run, for lists of many: from its summary where it is finished, else from its board."""

from __future__ import annotations

import msgspec

from airflow_gemini_batch.engine.finish.summary import summary_of
from airflow_gemini_batch.engine.report.board import read_board
from airflow_gemini_batch.engine.report.facts import FactCache
from airflow_gemini_batch.engine.run.layout import Run


class Line(msgspec.Struct, frozen=True):
    """A run in a list.

    :param share: how much is done, from 0 to 1.
    :param owner: the task instance that built it, without its try; None for a run that no task has built.
    :param usd: cost so far; None where it is not known.
    """

    destination: str
    state: str
    model: str
    owner: str | None
    labels: dict[str, str]
    created_at: str
    rows: int
    results: int
    dead_letter: int
    share: float
    usd: float | None
    seconds_left: float | None = None

    @property
    def dead_letter_ratio(self) -> float:
        return self.dead_letter / max(1, self.results + self.dead_letter)


def line_of(run: Run, cache: FactCache | None = None) -> Line | None:
    """The run in one line, or None where it has not been built.

    :param cache: see ``read_board``.

    Raises CorruptRunError for a manifest that cannot be read, and what the storage raises.
    """
    manifest, summary = run.manifest(), summary_of(run)
    if manifest is None:
        return None
    left = None
    if summary is None:
        board = read_board(run, manifest=manifest, cache=cache)
        if board is None:
            return None
        left = board.pace.seconds_left
        results, dead_letter, share, usd = board.results, board.dead_letter, board.share, board.cost.usd
    else:
        results, dead_letter, share, usd = summary.results, summary.dead_letter, 1.0, summary.cost.usd
    return Line(
        destination=run.destination.uri,
        state="running" if summary is None else "finished",
        model=manifest.model,
        owner=manifest.owner,
        labels=manifest.labels,
        created_at=manifest.created_at,
        rows=manifest.rows,
        results=results,
        dead_letter=dead_letter,
        share=share,
        usd=usd,
        seconds_left=left,
    )
