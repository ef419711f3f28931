"""Runs the Python of a page of ``docs/``, top to bottom in one namespace, as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
_SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


def run_snippets(page: str) -> int:
    """How many there were. Files land in the current folder. A failing line is shown with the page's own line number."""
    text = (DOCS / page).read_text(encoding="utf-8")
    # A pydantic model looks for the names in its annotations in the module that it believes to be in.
    names: dict[str, object] = {"__name__": f"docs_{page}"}
    snippets = list(_SNIPPET.finditer(text))
    for snippet in snippets:
        above = "\n" * text.count("\n", 0, snippet.start(1))
        exec(compile(above + snippet[1], str(DOCS / page), "exec", dont_inherit=True), names)  # noqa: S102
    return len(snippets)
