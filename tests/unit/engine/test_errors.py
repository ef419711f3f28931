"""The tree in the module's docstring is the tree of the classes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from airflow_gemini_batch.engine import errors


def drawn() -> Iterator[tuple[int, str]]:
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│├└─ ]*)(\w+Error)\b", line):
            yield len(match[1]) // 4, match[2]


def defined(kind: type[Exception], depth: int = 0) -> Iterator[tuple[int, str]]:
    yield depth, kind.__name__
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from defined(child, depth + 1)


def test_the_drawn_tree_has_every_error_below_its_base() -> None:
    def parents(tree: Iterator[tuple[int, str]]) -> dict[str, str]:
        path: list[str] = []
        found = {}
        for depth, name in tree:
            path[depth:] = [name]
            found[name] = path[depth - 1] if depth else ""
        return found

    assert parents(drawn()) == parents(defined(errors.GeminiBatchError))


def test_every_error_explains_itself() -> None:
    assert all(getattr(errors, name).__doc__ for _, name in defined(errors.GeminiBatchError))
