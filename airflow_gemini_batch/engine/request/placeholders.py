"""``${column}`` in a text: which columns it names and the text between them.

A template is parsed once and filled by joining, so inserted values are never parsed.
"""

from __future__ import annotations

import re
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
