"""Applies row faults while a job's output is written."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_gemini_batch.emulator.batches.output_rows import OutputRow
from airflow_gemini_batch.emulator.faults.kinds import RowFault
from airflow_gemini_batch.emulator.http.bodies import to_json
from airflow_gemini_batch.emulator.proto_json import Json

#: Rows are shuffled within windows of this many rows, which bounds memory for files of any length.
SHUFFLE_WINDOW = 10_000

#: Not applied to inline jobs: they would make the whole answer invalid JSON, or have no meaning there.
_ONLY_IN_FILES = {"torn", "nan", "crlf", "blank_line"}

_INTERNAL_ERROR = (
    "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"
)


@dataclass(slots=True)
class RowCounts:
    """Counts for the job's counters. A row that a fault drops or duplicates later still counts once."""

    answered: int = 0
    failed: int = 0


def apply_row_faults(
    rows: Iterable[OutputRow], faults: Sequence[RowFault], counts: RowCounts, *, inline: bool
) -> Iterator[bytes]:
    """The lines of the output. Faults change the contents of rows first, then their order and number, then their text."""
    for fault in faults:
        if fault.do in _OUTCOMES:
            rows = _changed(rows, fault)
    rows = _counted(rows, counts)
    for fault in faults:
        if fault.do == "shuffle":
            rows = _shuffled(rows, fault)
        elif fault.do == "swap_key":
            rows = _swapped(rows, fault)
        elif fault.do in _COPIES:
            rows = _copied(rows, fault)
    in_text = [fault for fault in faults if fault.do in _TEXTS and not (inline and fault.do in _ONLY_IN_FILES)]
    for row in rows:
        text = to_json(_line(row, inline))
        for fault in in_text:
            if fault.matches(row.line, row.key):
                text = _TEXTS[fault.do](text)
        yield text + b"\n"


def _counted(rows: Iterable[OutputRow], counts: RowCounts) -> Iterator[OutputRow]:
    for row in rows:
        counts.answered += 1
        counts.failed += "error" in row.outcome or "status" in row.outcome
        yield row


def _line(row: OutputRow, inline: bool) -> Json:
    """`key` comes last, as in the service's files. A row without a key in the input has none in the output."""
    if inline:
        return row.outcome if row.metadata is None else {**row.outcome, "metadata": row.metadata}
    return row.outcome if row.key is None else {**row.outcome, "key": row.key}


def _shuffled(rows: Iterable[OutputRow], fault: RowFault) -> Iterator[OutputRow]:
    chooser = random.Random(fault.seed)
    window: list[OutputRow] = []
    for row in rows:
        window.append(row)
        if len(window) == SHUFFLE_WINDOW:
            chooser.shuffle(window)
            yield from window
            window = []
    chooser.shuffle(window)
    yield from window


def _swapped(rows: Iterable[OutputRow], fault: RowFault) -> Iterator[OutputRow]:
    """Swaps the keys of a matching row and the next one, so that each answer has the other's key."""
    held: OutputRow | None = None
    for row in rows:
        if held is not None:
            yield replace(held, key=row.key, metadata=row.metadata)
            yield replace(row, key=held.key, metadata=held.metadata)
            held = None
        elif fault.matches(row.line, row.key):
            held = row
        else:
            yield row
    if held is not None:
        yield held


def _copied(rows: Iterable[OutputRow], fault: RowFault) -> Iterator[OutputRow]:
    copies = _COPIES[fault.do]
    for row in rows:
        yield from copies(row) if fault.matches(row.line, row.key) else (row,)


def _changed(rows: Iterable[OutputRow], fault: RowFault) -> Iterator[OutputRow]:
    change = _OUTCOMES[fault.do]
    for row in rows:
        if fault.matches(row.line, row.key):
            row.outcome = change(row.outcome, fault)
        yield row


def _foreign(row: OutputRow) -> list[OutputRow]:
    key = f"{row.key or row.line}-foreign"
    metadata = {**row.metadata, "key": key} if isinstance(row.metadata, dict) else row.metadata
    return [row, replace(row, key=key, metadata=metadata)]


_COPIES: dict[str, Callable[[OutputRow], Sequence[OutputRow]]] = {
    "missing": lambda row: [],
    "double": lambda row: [row, row],
    "foreign_key": _foreign,
}


def _error(fault: RowFault) -> Json:
    error: Json = {"code": fault.code, "message": fault.message or _INTERNAL_ERROR}
    if fault.details is not None:
        error["details"] = fault.details
    return error


def _stopped(reason: str) -> Callable[[Json, RowFault], Json]:
    """Replaces the answer with a candidate that has a finish reason and no parts."""

    def change(outcome: Json, fault: RowFault) -> Json:
        candidate = {"content": {"role": "model"}, "finishReason": reason, "index": 0}
        return {"response": {**outcome.get("response", {}), "candidates": [candidate]}}

    return change


def _cut(outcome: Json, fault: RowFault) -> Json:
    def half(part: Json) -> Json:
        return {**part, "text": part["text"][: max(1, len(part["text"]) // 2)]} if "text" in part else part

    return _with_candidates(outcome, lambda candidate, parts: {
        **candidate, "content": {"role": "model", "parts": [half(part) for part in parts]}, "finishReason": "MAX_TOKENS"
    })  # fmt: skip


def _separators(outcome: Json, fault: RowFault) -> Json:
    def split(part: Json) -> Json:
        return {**part, "text": f"one\u2028two\u2029three\u0085four {part['text']}"} if "text" in part else part

    return _with_candidates(outcome, lambda candidate, parts: {
        **candidate, "content": {"role": "model", "parts": [split(part) for part in parts]}
    })  # fmt: skip


def _blocked(outcome: Json, fault: RowFault) -> Json:
    response = {name: value for name, value in outcome.get("response", {}).items() if name != "candidates"}
    return {"response": {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **response}}


def _huge(outcome: Json, fault: RowFault) -> Json:
    response = outcome.get("response", {})
    usage = {**response.get("usageMetadata", {}), "totalTokenCount": 2**63 - 1}
    return {"response": {**response, "usageMetadata": usage}}


def _without_candidates(outcome: Json, fault: RowFault) -> Json:
    return {"response": {**outcome.get("response", {}), "candidates": []}}


def _with_candidates(outcome: Json, change: Callable[[Json, list[Json]], Json]) -> Json:
    response = outcome.get("response", {})
    candidates: list[Any] = response.get("candidates", [])
    changed = [change(candidate, candidate["content"].get("parts", [])) for candidate in candidates]
    return {**outcome, "response": {**response, "candidates": changed}} if "response" in outcome else outcome


_OUTCOMES: dict[str, Callable[[Json, RowFault], Json]] = {
    "null_response": lambda outcome, fault: {"response": None},
    "neither": lambda outcome, fault: {},
    "error": lambda outcome, fault: {"error": _error(fault)},
    "status": lambda outcome, fault: {"status": _error(fault)},
    "safety": _stopped("SAFETY"),
    "recitation": _stopped("RECITATION"),
    "empty": _stopped("STOP"),
    "no_candidates": _without_candidates,
    "prompt_blocked": _blocked,
    "max_tokens": _cut,
    "line_separators": _separators,
    "huge_integer": _huge,
}

_TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda text: text[: len(text) // 2],
    "lone_surrogate": lambda text: text.replace(b'"text":"', b'"text":"\\ud800 ', 1),
    "nan": lambda text: text.replace(b'"index":0', b'"avgLogprobs":NaN,"index":0', 1),
    "crlf": lambda text: text + b"\r",
    "blank_line": lambda text: text + b"\n",
}
