"""What differs between the question of a run and the question of a call, in words that show the place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

#: Characters that are shown on both sides of the first difference of two texts.
_CONTEXT = 40

#: Differences that a message shows; more say nothing new.
_SHOWN = 3

_ABSENT = object()


def describe_differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One sentence part for each place where two JSON-like values differ, such as ``request.prompt is 'a', this call has 'b'``.

    Empty when they are equal. At most three; one more says how many there are.
    """
    found = [f"{path} is {_short(old, new)}, this call has {_short(new, old)}" for path, old, new in _places(was, now, "")]
    more = len(found) - _SHOWN
    return found if more <= 0 else [*found[:_SHOWN], f"and {more} more"]


def _places(was: Any, now: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*was, *now]):
            yield from _places(was.get(name, _ABSENT), now.get(name, _ABSENT), f"{path}.{name}" if path else str(name))
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for number, (old, new) in enumerate(zip(was, now, strict=True)):
            yield from _places(old, new, f"{path}[{number}]")
    elif type(was) is not type(now) or was != now:
        yield path, was, now


def _short(value: Any, other: Any) -> str:
    """The value, of long texts the part around the first difference."""
    if value is _ABSENT:
        return "absent"
    text = repr(value)
    if len(text) <= 2 * _CONTEXT:
        return text
    other_text = repr(other)
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(text, other_text, strict=False)))
    start, end = max(0, same - _CONTEXT), same + _CONTEXT
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
