"""Many lines of an output at once: Arrow parses the ordinary answers among them, into columns and outside of Python's lock.

Two rules must not be relaxed:

a line says here what ``responses.classify`` says of it, and
what Arrow does not take, or takes in another way, is left to ``classify``, line by line.

Arrow takes strict JSON, with each member once. A test holds every form known to differ against ``classify``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.arrow.json_objects import read_objects
from airflow_gemini_batch.engine.reasons import REASON_BY_FINISH
from airflow_gemini_batch.engine.response.answer_columns import SCHEMA, Answers
from airflow_gemini_batch.engine.response.lines import Block, key_and_response
from airflow_gemini_batch.engine.response.parsed_texts import ParsedTexts
from airflow_gemini_batch.engine.response.responses import Answer, Garbage, Refusal, classify
from airflow_gemini_batch.engine.response.usage import DETAILS, parts_of

#: Longer answers hold media, which are not columns here.
_LONGEST = 1 << 16

#: Arrow reads any depth, ``classify`` about a thousand brackets: an answer that could have more is left to it.
_DEEP = 500

#: Arrow takes these, which are not JSON; and what may stand before them.
_CONSTANTS = (b"NaN", b"Inf")
_BEFORE_NUMBER = b":,[ \t\r-"

#: Bytes that are looked at in one go: few enough to stay in the processor's cache, and not to be mapped anew each time.
_PIECE = 1 << 16

_COUNTS = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount",
           "toolUsePromptTokenCount", "totalTokenCount")  # fmt: skip
_DETAILS = pa.list_(pa.struct([("modality", pa.string()), ("tokenCount", pa.int64())]))
_PART = pa.struct([("text", pa.string()), ("thought", pa.bool_())])
_CANDIDATE = pa.struct([("content", pa.struct([("parts", pa.list_(_PART))])), ("finishReason", pa.string())])
_USAGE = pa.struct([*((name, pa.int64()) for name in _COUNTS), *((name, _DETAILS) for name in DETAILS)])
_RESPONSE = pa.schema(
    [
        ("candidates", pa.list_(_CANDIDATE)),
        ("usageMetadata", _USAGE),
        ("modelVersion", pa.string()),
        ("responseId", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Reads:
    """What each line of a block says.

    :param starts: where each line begins.
    :param lines: the key of an answer; the refusal or garbage itself.
    :param answers: the answers among the lines, in their order.
    """

    starts: list[int]
    lines: list[str | Refusal | Garbage]
    answers: Answers

    def keys(self) -> list[str]:
        """Of the answers."""
        if len(self.answers) == len(self.lines):
            return cast("list[str]", self.lines)
        return [line for line in self.lines if isinstance(line, str)]


class AnswersReader(Protocol):
    """Reads answers of one kind."""

    def __call__(self, keys: Sequence[str], found: Sequence[re.Match[bytes]]) -> tuple[Answers, Sequence[int]]:
        """
        :param found: as ``key_and_response`` finds them, all in one block.

        Returns the answers that it could read, and which of ``found`` they are.
        """
        ...


def read_block(block: Block, vectors: AnswersReader | None = None, texts: ParsedTexts | None = None) -> Reads:
    """
    :param vectors: reads the answers of a run that asks for vectors.
    :param texts: parses the texts of the answers too.
    """
    reads = _read(block, vectors)
    return reads if texts is None else Reads(reads.starts, reads.lines, reads.answers.with_parsed(texts))


def _read(block: Block, vectors: AnswersReader | None) -> Reads:
    places, keys, found = _ordinary_lines(block, None if vectors else _LONGEST) if block.plain else ([], [], [])
    answers, kept = (vectors or _answers)(keys, found)
    if len(kept) < len(places):
        places = [places[row] for row in kept]
    if len(places) == len(block):
        return Reads(block.starts, list(map(str, answers["key"].to_pylist())), answers)
    return _with_others(block, places, answers)


def _with_others(block: Block, places: list[int], ordinary: Answers) -> Reads:
    """The lines at ``places`` say what is ordinary, and the others are read one by one."""
    keys = ordinary["key"].to_pylist()
    lines: list[str | Refusal | Garbage] = [""] * len(block)
    for place, key in zip(places, keys, strict=True):
        lines[place] = key
    others: list[Answer] = []
    others_at: list[int] = []
    for place in sorted(set(range(len(lines))).difference(places)):
        read = classify(block.line(place), block.plain)
        if isinstance(read, Answer):
            others.append(read)
            others_at.append(place)
            lines[place] = read.key
        else:
            lines[place] = read
    if not others:
        return Reads(block.starts, lines, ordinary)
    if not places:
        return Reads(block.starts, lines, Answers.of(others))
    at = places + others_at
    order = sorted(range(len(at)), key=at.__getitem__)
    return Reads(block.starts, lines, Answers.joined([ordinary, Answers.of(others)]).take(order))


def _ordinary_lines(block: Block, longest: int | None) -> tuple[list[int], list[str], list[re.Match[bytes]]]:
    """The lines that may be read together: their places, keys, and what they hold.

    :param longest: bytes of a line; None: any.
    """
    content = block.content
    places, keys, matches = [], [], []
    for place, (begin, end) in enumerate(zip(block.begins, block.ends, strict=True)):
        if longest is not None and end - begin > longest:
            continue
        found = key_and_response(content, begin, end)
        if found is not None and b"\\" not in (key := found["key"]):
            places.append(place)
            keys.append(key.decode())
            matches.append(found)
    return places, keys, matches


def _needs_classify(responses: Sequence[bytes], together: bytes) -> Any:
    """Whether each of the responses may be deep, or holds a number that is not JSON.

    :param together: the responses, with a byte between them.
    """
    lengths = np.fromiter(map(len, responses), np.int64, len(responses))
    ends = np.cumsum(lengths + 1)
    found = lengths > 2 * _DEEP  # an answer has a closing bracket for each
    if found.any():
        found &= np.diff(np.searchsorted(_places_of(together, b"[{"), ends), prepend=0) > _DEEP
    for at in _places_of(together, b"NI").tolist():
        if together[at : at + 3] in _CONSTANTS and together[at - 1] in _BEFORE_NUMBER:
            found[np.searchsorted(ends, at, side="right")] = True
    return found


def _places_of(content: bytes, two: bytes) -> Any:
    """Where one of the two bytes stands."""
    places = []
    for start in range(0, len(content), _PIECE):
        piece = np.frombuffer(content, np.uint8, min(_PIECE, len(content) - start), start)
        places.append(np.flatnonzero((piece == two[0]) | (piece == two[1])) + start)
    return np.concatenate(places)


def _answers(keys: Sequence[str], found: Sequence[re.Match[bytes]]) -> tuple[Answers, Sequence[int]]:
    """The ordinary answers, and which of the responses they are."""
    raws = [match["response"] for match in found]
    together = b"\n".join(raws)
    if b'"candidates"' not in together:  # vectors, or nothing
        return Answers.of([]), []
    read = read_objects(together, len(raws), _RESPONSE, unexpected="ignore")
    if read is None:
        return Answers.of([]), []
    candidates, usage, model_version, response_id = read.columns
    texts, of_row, is_ordinary = _texts(candidates)
    finish_reason = _taken(candidates.values.field("finishReason"), _first(candidates))
    total = usage.field(_COUNTS.index("totalTokenCount"))
    is_ordinary &= columns.is_valid(usage) & columns.is_valid(total) & _are_good_ends(finish_reason)
    is_ordinary &= _are_filled(model_version) & _are_filled(response_id)
    is_ordinary &= ~_needs_classify(raws, together)
    parts = _parts(usage, is_ordinary)
    rows = pa.RecordBatch.from_arrays(
        [
            columns.strings(keys),
            columns.utf8(raws),
            _taken(texts, of_row),
            finish_reason,
            *(usage.field(position) for position in range(len(_COUNTS))),
            model_version,
            response_id,
        ],
        schema=SCHEMA,
    )
    if is_ordinary.all():
        return Answers(rows, parts), range(len(raws))
    kept: list[int] = np.flatnonzero(is_ordinary).tolist()
    return Answers(rows, parts).take(kept), kept


def _texts(candidates: pa.Array) -> tuple[pa.Array, Any, Any]:
    """The texts of all parts, which of them is that of each row, and whether the row has one candidate with exactly one text."""
    parts = candidates.values.field("content").field("parts")
    text, thought = parts.values.field("text"), parts.values.field("thought")
    is_text = columns.is_valid(text) & (_lengths(text) > 0)
    if thought.null_count < len(thought):
        is_text &= ~(columns.is_valid(thought) & columns.bool_values(thought))
    before = np.concatenate([[0], np.cumsum(is_text)])
    starts, ends = _bounds(parts)
    count, first = before[ends] - before[starts], before[starts]
    places = np.append(np.flatnonzero(is_text), 0)  # one more, for rows without a text
    of_candidate = np.append(places[np.minimum(first, len(places) - 1)], 0)
    count = np.append(count, 0)
    starts, ends = _bounds(candidates)
    chosen = _first(candidates)
    return text, of_candidate[chosen], (ends - starts == 1) & (count[chosen] == 1)


def _first(lists: pa.Array) -> Any:
    """Where the first item of each list stands; for an empty one, of some other list."""
    return np.minimum(_bounds(lists)[0], max(len(lists.values) - 1, 0))


def _bounds(lists: pa.Array) -> tuple[Any, Any]:
    offsets = np.frombuffer(lists.offsets.buffers()[1], np.int32)[: len(lists) + 1]
    return offsets[:-1], offsets[1:]


def _lengths(texts: pa.Array) -> Any:
    return np.diff(np.frombuffer(texts.buffers()[1], np.int32)[: len(texts) + 1])


def _taken(array: pa.Array, places: Any) -> pa.Array:
    if len(array) == len(places) and np.array_equal(places, np.arange(len(places))):
        return array
    return array.take(columns.from_numpy(places)) if len(array) else pa.nulls(len(places), array.type)


def _are_good_ends(finish_reasons: pa.Array) -> Any:
    found = finish_reasons.to_pylist()
    is_good = {reason: bool(reason) and REASON_BY_FINISH.get(reason) is None for reason in set(found)}
    return np.fromiter(map(is_good.__getitem__, found), bool, len(found))


def _are_filled(texts: pa.Array) -> Any:
    """Whether each is null or not empty: an empty one is null in the tables."""
    return ~columns.is_valid(texts) | (_lengths(texts) > 0)


def _parts(usage: pa.Array, is_ordinary: Any) -> dict[int, dict[str, int]]:
    """The tokens that are not text. Takes rows with details of another form off ``is_ordinary``."""
    details = {name: usage.field(len(_COUNTS) + place) for place, name in enumerate(DETAILS)}
    is_said = np.zeros(len(usage), bool)
    for name, lists in details.items():
        starts, ends = _bounds(lists)
        is_said |= ends > starts
        if name == "promptTokensDetails" and len(lists.values):
            is_text = _equal(lists.values.field("modality"), b"TEXT")[_first(lists)]
            is_said &= ~((ends - starts == 1) & is_text)
    parts = {}
    rows = np.flatnonzero(is_said & is_ordinary).tolist()
    chosen = columns.int64s(rows)
    read = {name: lists.take(chosen).to_pylist() for name, lists in details.items()} if rows else {}
    for place, row in enumerate(rows):
        said = [(side, detail) for name, side in DETAILS.items() for detail in read[name][place] or ()]
        if any(detail is None for _, detail in said):
            is_ordinary[row] = False
        elif found := parts_of((side, detail["modality"] or "", detail["tokenCount"] or 0) for side, detail in said):
            parts[row] = found
    return parts


def _equal(texts: pa.Array, word: bytes) -> Any:
    lengths, values = _lengths(texts), texts.to_pylist()
    expected = word.decode()
    return np.fromiter((value == expected for value in values), bool, len(lengths))
