"""``${column}`` in a text: which columns it names and what stands between them.

A template is read once and filled by joining; what a row puts in is never looked at again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_gemini_batch.engine.errors import InputError

#: PEP 292, except that a name in braces may be any column name, and that a ``$`` before anything else stays as it is.
_TOKEN = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>[^{}]*)\}|(?P<open>\{)|(?P<bare>(?a:[_a-zA-Z]\w*)))")


@dataclass(frozen=True, slots=True)
class Template:
    """A text cut at its placeholders: ``texts[0] + value of columns[0] + texts[1] + … + texts[-1]``."""

    texts: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not any(self.texts) and not self.columns


def parse(text: str, *, argument: str) -> Template:
    """Cut ``text`` at its placeholders.

    :param argument: what the text is called in error messages.
    """
    texts: list[str] = [""]
    columns: list[str] = []
    end = 0
    for token in _TOKEN.finditer(text):
        texts[-1] += text[end : token.start()]
        end = token.end()
        column = token["braced"] if token["bare"] is None else token["bare"]
        if token["dollar"]:
            texts[-1] += "$"
        elif token["open"] or not column:
            raise InputError(
                f"{argument} has a placeholder that names no column, at character {token.start()}: "
                f"{text[token.start() : token.start() + 30]!r}. Write ${{column}}, or $${{ for a literal ${{."
            )
        else:
            columns.append(column)
            texts.append("")
    texts[-1] += text[end:]
    return Template(tuple(texts), tuple(columns))


def require_columns(named: Sequence[str], available: Sequence[str], *, by: str, hint: str = "") -> None:
    """Raise InputError when a column that was asked for is not there.

    :param by: who names them, for the message.
    """
    missing = [name for name in dict.fromkeys(named) if name not in available]
    if not missing:
        return
    closest = difflib.get_close_matches(missing[0], available, n=max(len(available), 1), cutoff=0.6)
    ordered = [*closest, *(name for name in available if name not in closest)]
    shown = ", ".join(map(repr, ordered[:50])) + (f" and {len(ordered) - 50} more" if len(ordered) > 50 else "")
    raise InputError(
        f"{by} names {'a column' if len(missing) == 1 else 'columns'} that the source does not have: "
        f"{', '.join(map(repr, missing))}. It has: {shown or 'no columns'}.{hint}"
    )
