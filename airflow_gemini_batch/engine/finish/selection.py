"""Which dead letters of a run are meant: by reason, key, message, code, and whether they are retryable."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.reasons import FINISH_REASONS, Reason
from airflow_gemini_batch.engine.run.layout import Run, Shard
from airflow_gemini_batch.engine.run.repeats import REPEAT, wire_keys_of

#: Keys that a message names.
_NAMED = 10

#: The columns that a selection looks at in each dead letter, except the message, which is long.
_COLUMNS = ("key", "reason", "status", "code", "retryable")

#: What else a selection of keys may ask for, as a message calls it.
_IN_WORDS = {"reasons": "these reasons", "message": "this message", "codes": "these codes", "retryable": "this retryable"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters: those to which all that is given applies.

    :param reasons: dead-letter reasons, or finish reasons such as ``MALFORMED_FUNCTION_CALL``.
    :param keys: keys of rows; in a run with repeats also ``key#repeat``.
    :param message: a text that the message contains, whatever the case; between slashes, a regular expression (RE2).
    :param codes: HTTP statuses or rpc codes.
    :param limit: no more letters than these, the first in the order of the shards.
    :param include_discarded: whether letters that were discarded are meant too.
    """

    reasons: frozenset[str] | None = None
    keys: frozenset[str] | None = None
    message: str | None = None
    codes: frozenset[int] | None = None
    retryable: bool | None = None
    limit: int | None = None
    include_discarded: bool = False

    @classmethod
    def of(
        cls,
        reasons: Collection[str] | None = None,
        keys: Collection[str] | None = None,
        *,
        message: str | None = None,
        codes: Collection[int] | None = None,
        retryable: bool | None = None,
        limit: int | None = None,
        include_discarded: bool = False,
    ) -> Selection:
        """Raises InputError for a reason that does not exist, and for any other value that cannot be meant."""
        for name, value in (("reasons", reasons), ("keys", keys)):
            if isinstance(value, str) or (value is not None and not all(map(_is_text, value))):
                raise InputError(f"{name} is {value!r}; expected a list of texts.")
        known = [*(reason.value for reason in Reason), *FINISH_REASONS]
        if unknown := sorted(set(reasons or ()) - set(known)):
            raise InputError(f"reasons holds {', '.join(map(repr, unknown))}; known are {', '.join(known)}.")
        if codes is not None and (isinstance(codes, (str, int)) or not all(map(_is_code, codes))):
            raise InputError(f"codes is {codes!r}; expected a list of whole numbers, such as [429, 503].")
        for name, flag in (("retryable", retryable), ("include_discarded", include_discarded)):
            if not isinstance(flag, bool) and not (flag is None and name == "retryable"):
                raise InputError(f"{name} is {flag!r}; expected True or False.")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise InputError(f"limit is {limit!r}; expected a whole number of dead letters from 1, or None for all of them.")
        _require_pattern(message)
        return cls(_frozen(reasons), _frozen(keys), message, _frozen(codes), retryable, limit, include_discarded)

    @property
    def is_open(self) -> bool:
        """Whether nothing is said about the letters themselves."""
        return all(said is None for said in (self.reasons, self.keys, self.message, self.codes, self.retryable))

    def or_retryable(self) -> Selection:
        """The same; where nothing is said about the letters, those that are retryable."""
        return replace(self, retryable=True) if self.is_open else self

    def and_keys(self, keys: Collection[str]) -> Selection:
        """The same, and also these keys, where keys are selected."""
        return self if self.keys is None else replace(self, keys=self.keys.union(keys))

    def columns(self, repeats: int) -> list[str]:
        """The columns that ``of_batch`` needs."""
        names = [*_COLUMNS, *(["message"] if self.message is not None else [])]
        return names if repeats == 1 else [*names, REPEAT.name]

    def of_batch(self, rows: pa.RecordBatch, repeats: int = 1) -> pa.Array:
        """Mask of the rows that are selected, whether or not they have a request, were discarded, or are above the limit."""
        masks = [pa.array([True] * rows.num_rows, pa.bool_())]
        if self.reasons is not None:
            wanted = pa.array(sorted(self.reasons), pa.string())
            masks.append(pc.or_(*(pc.is_in(rows.column(name), value_set=wanted) for name in ("reason", "status"))))
        if self.keys is not None:
            wanted = pa.array(sorted(self.keys), pa.string())
            masks += [pc.or_(*(pc.is_in(keys, value_set=wanted) for keys in (rows.column("key"), wire_keys_of(rows, repeats))))]
        if self.message is not None:
            masks.append(_matches(rows.column("message"), self.message))
        if self.codes is not None:
            masks.append(pc.is_in(rows.column("code"), value_set=pa.array(sorted(self.codes), pa.int32())))
        if self.retryable is not None:
            masks.append(pc.equal(rows.column("retryable"), self.retryable))
        chosen = masks[0]
        for mask in masks[1:]:
            chosen = pc.and_(chosen, pc.fill_null(mask, False))
        return chosen

    def as_dict(self) -> dict[str, Any]:
        """What is given, as plain JSON values."""
        return {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name in self.__slots__
            if (value := getattr(self, name)) not in (None, False) or (name == "retryable" and value is False)
        }

    def caller(self, token: str) -> str:
        """Who redrives: the caller's token and what it selects."""
        asked: list[Any] = [None if values is None else sorted(values) for values in (self.reasons, self.keys)]
        more = {name: value for name, value in self.as_dict().items() if name not in ("reasons", "keys")}
        asked += [more] if more else []  # plans of earlier versions know the first two only
        return hashlib.sha256(msgspec.json.encode([token, *asked])).hexdigest()[:32]


def names_of(rows: pa.RecordBatch, repeats: int) -> set[str]:
    """How a selection may name rows: their keys, and in a run with repeats their wire keys too."""
    names = set(rows.column("key").to_pylist())
    return names if repeats == 1 else names.union(wire_keys_of(rows, repeats).to_pylist())


def without(rows: pa.RecordBatch, discarded: Collection[str], repeats: int) -> pa.RecordBatch:
    """The rows of a part whose letters are not discarded."""
    if not discarded:
        return rows
    return rows.filter(pc.invert(pc.is_in(wire_keys_of(rows, repeats), value_set=pa.array(sorted(discarded), pa.string()))))


def payers_of(run: Run, shards: Sequence[Shard], selection: Selection) -> dict[str, str]:
    """The selected keys of rows that did not pay for themselves, each with the key of the row that did.

    Only where keys are selected: a copy has the reason, the code and the message of its payer.
    """
    payers: dict[str, str] = {}
    for shard in shards if selection.keys is not None else ():
        for batch in copies_of(run, shard, [*selection.columns(1), "paid_by"]):
            chosen = batch.filter(selection.of_batch(batch))
            payers.update(zip(chosen.column("key").to_pylist(), chosen.column("paid_by").to_pylist(), strict=True))
    return payers


def copies_of(run: Run, shard: Shard, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """The dead letters that letters of a shard and attempt pay for, some at a time; none where there are no duplicates."""
    file = run.copies_part("dead_letter", shard.id)
    if file.exists():
        with file.open() as content, pq.ParquetFile(content) as part:
            yield from part.iter_batches(columns=None if names is None else list(names))


def require_found(run: Run, selection: Selection, found: Collection[str]) -> None:
    """Raise InputError where a key that is selected is not a dead letter.

    :param found: keys, and wire keys, of the letters that the selection has found.
    """
    if selection.keys is None or not (absent := sorted(selection.keys - set(found))):
        return
    rest = " and ".join(words for name, words in _IN_WORDS.items() if getattr(selection, name) is not None)
    raise InputError(
        f"{len(absent)} keys are not dead letters of {run.destination}{f' with {rest}' if rest else ''}: "
        f"{', '.join(map(repr, absent[:_NAMED]))}{', …' if len(absent) > _NAMED else ''}."
    )


def _frozen(values: Any) -> Any:
    return None if values is None else frozenset(values)


def _is_text(value: Any) -> bool:
    """Words of a command line that are not UTF-8 arrive as lone surrogates."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def _is_code(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _pattern_of(message: str) -> str | None:
    """The regular expression of ``/…/``; None for a text."""
    return message[1:-1] if len(message) > 2 and message.startswith("/") and message.endswith("/") else None


def _matches(messages: pa.Array, message: str) -> pa.Array:
    pattern = _pattern_of(message)
    if pattern is None:
        return pc.match_substring(messages, pattern=message, ignore_case=True)
    return pc.match_substring_regex(messages, pattern=pattern)


def _require_pattern(message: Any) -> None:
    if message is None:
        return
    if not isinstance(message, str) or not message:
        raise InputError(f"message is {message!r}; expected a text that the message contains, or /a regular expression/.")
    try:
        _matches(pa.array([""]), message)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"message is {message!r}, which cannot be used as a regular expression (RE2): {why}.") from None
