"""What the page of a finished run shows: everything cut, made harmless and counted; the template only places it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from airflow_gemini_batch.engine.finish.summary import Summary
from airflow_gemini_batch.engine.printable import printable
from airflow_gemini_batch.engine.rates import SEARCH_KINDS, Rates
from airflow_gemini_batch.engine.report.asked import ADVICE, asked_of, bounds_of
from airflow_gemini_batch.engine.report.discarded import discarded_rows
from airflow_gemini_batch.engine.report.distributions import TokenCounts, job_seconds, token_counts
from airflow_gemini_batch.engine.report.excerpts import excerpt, text_block
from airflow_gemini_batch.engine.report.letters import Letter, first_letters
from airflow_gemini_batch.engine.report.plots import Amount, Plot, Timeline, amounts_of, plot_of, timeline_of
from airflow_gemini_batch.engine.report.table_rows import TableRows, first_rows
from airflow_gemini_batch.engine.report.words import dollars, seconds_between
from airflow_gemini_batch.engine.run.discards import Discards
from airflow_gemini_batch.engine.run.layout import Manifest, PartName, Run
from airflow_gemini_batch.engine.run.snapshot import Snapshot
from airflow_gemini_batch.engine.run.storage import Location

#: Dead letters that are shown for each reason, and reasons that are shown one by one.
LETTERS, REASONS = 10, 14

#: Bytes of HTML for the texts of all dead letters, and the most that one text of them gets.
_LETTERS_ROOM, _LETTER_ROOM = 120_000, 1_500

#: Bytes of HTML for each part of what was asked.
_ASKED_ROOM = 7_000

#: Results that are shown, and columns of them.
_RESULTS, _RESULT_COLUMNS, _CELL_ROOM = 5, 5, 400

#: Columns of the results that say nothing to a person, or are shown elsewhere.
_NO_RESULT = frozenset(
    (
        *("job", "shard", "attempt", "cost_usd", "response_id", "model_version", "finish_reason", "reused_from", "paid_by"),
        *("prompt_tokens", "thoughts_tokens", "cached_tokens", "tool_tokens", "total_tokens"),
    )
)

#: Characters and number of short texts: labels, notes, messages.
_SHORT, _FEW = 300, 12


class Lineage(NamedTuple):
    """The task instance that built the run."""

    dag: str
    run: str
    task: str
    map_index: str


class ShownLetter(NamedTuple):
    """A dead letter as texts; those that it has not are empty."""

    key: str
    code: str
    message: str
    request: str
    response: str


class ReasonSection(NamedTuple):
    """
    :param width: of its bar, in percent of the most frequent reason.
    :param share: of all rows.
    :param messages: the most frequent ones, with the number of rows.
    """

    name: str
    rows: int
    width: float
    share: float
    advice: str
    messages: tuple[tuple[str, int], ...]
    letters: tuple[ShownLetter, ...]


class SummaryView(NamedTuple):
    """
    :param discarded: dead letters that somebody has decided not to send again, until now.
    :param detail: how much of texts and lists is shown, from 0 to 1.
    """

    manifest: Manifest
    summary: Summary
    tokens: TokenCounts
    letters: dict[str, list[Letter]]
    first_results: TableRows
    discarded: int = 0
    detail: float = 1.0

    # --- the run

    @property
    def name(self) -> str:
        return self.short(self.summary.destination.rstrip("/").rpartition("/")[2]) or "run"

    @property
    def destination(self) -> str:
        return self.short(self.summary.destination)

    @property
    def source(self) -> str:
        return self.short(self.summary.source)

    @property
    def model(self) -> str:
        return self.short(self.summary.model.removeprefix("models/"))

    @property
    def labels(self) -> tuple[str, ...]:
        return self.few(f"{name}={value}" for name, value in sorted(self.summary.labels.items()))

    @property
    def lineage(self) -> Lineage | None:
        """None for a run that no task has built. The id of a DAG run may have slashes, no other part has."""
        parts = (self.manifest.owner or "").split("/")
        if len(parts) < 4:
            return None
        return Lineage(*map(self.short, (parts[0], "/".join(parts[1:-2]), parts[-2], "" if parts[-1] == "-1" else parts[-1])))

    @property
    def took(self) -> float | None:
        """Seconds from the build to the end."""
        return seconds_between(self.summary.started_at, self.summary.finished_at)

    @property
    def pace(self) -> float | None:
        """Rows per second over all that time."""
        return self.summary.rows / self.took if self.took else None

    @property
    def ratio(self) -> float:
        """Dead letters per row."""
        return self.summary.dead_letter / max(1, self.summary.rows)

    @property
    def job_states(self) -> str:
        """``12 SUCCEEDED, 1 EXPIRED``"""
        states = [job.state for job in self.summary.jobs]
        return ", ".join(f"{states.count(state):,} {state.lower()}" for state in dict.fromkeys(states))

    @property
    def tokens_in(self) -> int:
        """Of all requests, as far as they report them."""
        return self.summary.cost.tokens.get("input") or self.summary.tokens.get("prompt_tokens", 0)

    @property
    def tokens_out(self) -> int:
        """The same that came out, thoughts included."""
        known = self.summary.tokens
        return self.summary.cost.tokens.get("output") or known.get("output_tokens", 0) + known.get("thoughts_tokens", 0)

    # --- plots

    @property
    def plots(self) -> list[tuple[str, Plot]]:
        """The distributions, with their headings."""
        seconds = job_seconds(self.summary.jobs)
        drawn = (
            ("Output tokens per result", plot_of(self.tokens.output, unit="result")),
            ("Prompt tokens per result", plot_of(self.tokens.prompt, unit="result")),
            ("From the creation of a job to its end", plot_of(seconds, unit="job", is_seconds=True)),
        )
        return [(heading, plot) for heading, plot in drawn if plot is not None]

    @property
    def timeline(self) -> Timeline | None:
        return timeline_of(self.summary.jobs)

    # --- cost

    @property
    def amounts(self) -> tuple[Amount, ...]:
        """What the run cost, beside what it could have cost."""
        cost, bounds = self.summary.cost, bounds_of(self.manifest)
        named = (
            ("this run", cost.usd, "done"),
            ("estimated before, by a trial", cost.estimated_usd, "other"),
            ("estimated before, at most", None if bounds is None else bounds.high, "other"),
            ("estimated before, at least", None if bounds is None else bounds.low, "other"),
            ("the same without a batch", cost.interactive_usd, "left"),
            ("saved: equal requests asked once", cost.saved_by_dedupe_usd, "flight"),
            ("saved: answers of earlier runs", cost.saved_by_reuse_usd, "flight"),
        )
        return amounts_of(named) if cost.usd is not None else ()

    @property
    def cost_notes(self) -> tuple[str, ...]:
        cost = self.summary.cost
        searches = f"{cost.searches:,} searches at list price" if cost.searches_usd else ""
        basis = f"Rates: {cost.basis}" if cost.usd is not None else ""
        return self.few(note for note in (basis, *map(_in_words, cost.basis.rates.items()), searches, *cost.basis.notes) if note)

    @property
    def used(self) -> list[tuple[str, int]]:
        """Tokens of all requests by kind, also those of dead letters and earlier attempts."""
        return [(name.replace("_", " "), count) for name, count in self.summary.cost.tokens.items() if count][:_FEW]

    # --- dead letters

    @property
    def reasons(self) -> list[ReasonSection]:
        """The most frequent first."""
        counts = self._reasons()
        most = max((rows for _, rows in counts), default=1)
        shown = sum(min(rows, self._letters) for _, rows in counts[:REASONS])
        room = int(min(_LETTER_ROOM, _LETTERS_ROOM / max(1, 3 * shown)) * self.detail)
        return [
            ReasonSection(
                self.short(name),
                rows,
                round(100 * rows / most, 2),
                rows / max(1, self.summary.rows),
                ADVICE.get(name, ""),
                tuple(
                    (self.short(each.message), each.rows)
                    for each in self.summary.dead_letter_messages.get(name, ())
                    if each.message
                ),
                tuple(_shown(letter, room) for letter in self.letters.get(name, ())[: self._letters]),
            )
            for name, rows in counts[:REASONS]
        ]

    @property
    def other_reasons(self) -> tuple[int, int]:
        """Reasons that are not shown, and their rows."""
        others = self._reasons()[REASONS:]
        return len(others), sum(rows for _, rows in others)

    @property
    def _letters(self) -> int:
        return max(1, round(LETTERS * self.detail))

    def _reasons(self) -> list[tuple[str, int]]:
        return sorted(((name, rows) for name, rows in self.summary.reasons.items() if rows), key=lambda one: (-one[1], one[0]))

    # --- rows and request

    @property
    def results(self) -> TableRows:
        table = self.first_results
        shown = [place for place, name in enumerate(table.columns) if name not in _NO_RESULT][:_RESULT_COLUMNS]
        room = int(_CELL_ROOM * self.detail)
        rows = ((row[place] for place in shown) for row in table.rows)
        return TableRows(
            tuple(self.short(table.columns[place]) for place in shown),
            tuple(tuple("" if cell is None else excerpt(cell, room) for cell in row) for row in rows),
        )

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Headings and texts of what was asked."""
        room = int(_ASKED_ROOM * self.detail)
        return [(heading, text_block(text, room)) for heading, text in asked_of(self.manifest.request)]

    # --- texts

    def short(self, text: str) -> str:
        return excerpt(text, max(40, int(_SHORT * self.detail)))

    def few(self, texts: Iterable[str]) -> tuple[str, ...]:
        """The first of them, each cut, and how many are left out."""
        known = list(texts)
        more = (f"and {len(known) - _FEW:,} more",) if len(known) > _FEW else ()
        return (*map(self.short, known[:_FEW]), *more)


def read_summary_view(run: Run, manifest: Manifest, summary: Summary) -> SummaryView:
    """Read what the page needs from the tables: some columns, and a few rows."""
    letters, results = _parts(run.destination / "dead_letter"), _parts(run.destination / "results")
    wanted = sorted(summary.reasons, key=lambda reason: (-summary.reasons[reason], reason))[:REASONS]
    # Copies and reused rows were not paid for, so they have no tokens.
    paid = [file for name, file in results if not name.kind]
    return SummaryView(
        manifest,
        summary,
        token_counts(paid),
        first_letters([file for _, file in letters], {reason: min(LETTERS, summary.reasons[reason]) for reason in wanted}),
        first_rows([file for _, file in results], limit=_RESULTS),
        _discarded(run, manifest),
    )


def _discarded(run: Run, manifest: Manifest) -> int:
    names = list(run.ledger_folder.times())
    if not Discards(run, manifest.run_id, names).parts:
        return 0
    snapshot = Snapshot(run, manifest, names)
    return discarded_rows(run, snapshot, snapshot.shards(), names)


def _parts(folder: Location) -> list[tuple[PartName, Location]]:
    """The parts of a table: those of shards in order, then copies and reused rows."""
    named = [(name, file) for file in folder.children() if (name := PartName.of(file.name)) is not None]
    return sorted(named, key=lambda one: (one[0].kind, one[0].id))


def _in_words(period: tuple[str, Rates]) -> str:
    """``from 2026-12-01: input $0.15, output $1.25 per million tokens``"""
    since, rates = period
    tokens = ", ".join(f"{kind.replace('_', ' ')} {dollars(usd)}" for kind, usd in rates.items() if kind not in SEARCH_KINDS)
    return f"{f'from {since}: ' if since else ''}{tokens} per million tokens"


def _shown(letter: Letter, room: int) -> ShownLetter:
    repeat = "" if letter.repeat is None else f" #{letter.repeat}"
    code = " ".join(str(part) for part in (letter.code, letter.status) if part is not None)
    return ShownLetter(
        excerpt(letter.key, max(24, min(200, room))) + repeat,
        printable(code)[:80],
        excerpt(letter.message, room),
        excerpt(letter.request or "", room),
        excerpt(letter.response or "", room),
    )
