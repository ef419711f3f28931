"""docs/troubleshooting.md says of every error whether Airflow retries it, as the code does, and has every message and reason."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_gemini_batch._errors import RETRYABLE
from airflow_gemini_batch.engine import errors
from airflow_gemini_batch.engine.reasons import Reason

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_gemini_batch"
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")

#: Never raised themselves.
BASES = (errors.GeminiBatchError, errors.ServiceError)
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.GeminiBatchError) and kind not in BASES
}

#: What raises before anything is sent and is not an argument: the source, the key column, the destination, the budget.
PREFLIGHT = ("engine/build/", "engine/source/", "engine/run/layout.py", "engine/run/storage.py")


def test_the_page_says_of_every_error_whether_it_is_retried() -> None:
    rows = re.findall(r"^\| (`.*?) \| (retries|fails) \|", PAGE, re.MULTILINE)
    on_page = {name: verdict for names, verdict in rows for name in re.findall(r"`(\w+)`", names)}

    in_code = {name: "retries" if issubclass(kind, RETRYABLE) else "fails" for name, kind in KINDS.items()}
    assert {name: verdict for name, verdict in on_page.items() if name in in_code} == in_code


@functools.cache
def entries() -> dict[str, list[re.Pattern[str]]]:
    """Error -> the messages that the page has of it, with ``…`` for anything."""
    found: dict[str, list[re.Pattern[str]]] = {}
    by_message = PAGE.split("\n## By message\n")[1].split("\n## ")[0]
    for cell in re.findall(r"^\| (`.*?) \| ", by_message, re.MULTILINE):
        name = ""
        for span in re.findall(r"`([^`]+)`", cell):
            head, colon, text = span.partition(": ")
            if head in KINDS:
                name = head
            words = text if colon and head in KINDS else "…" if span in KINDS else span
            if name:
                pattern = ".*".join(map(re.escape, re.sub(r"\s*…\s*", "…", words).split("…")))
                found.setdefault(name, []).append(re.compile(pattern, re.DOTALL))
    return found


def text_of(node: ast.expr) -> str:
    """A message as it stands in the code, with ``…`` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)  # type: ignore[misc]
    return "…"


def raised() -> Iterator[tuple[str, str, str]]:
    """Place, error and message of each error that is made of a text of its own."""
    for file in sorted(PACKAGE.rglob("*.py")):
        place = file.relative_to(PACKAGE).as_posix()
        if not place.startswith(("emulator/", "demo/", "evals/")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and node.args:
                    yield f"{place}:{node.lineno}", node.func.id, text_of(node.args[0])


RAISED = list(raised())
CERTAIN = [*(name for name in KINDS if name not in ("InputError", "OutcomeUnknownError", "RefusedError"))]


def is_on_page(name: str, message: str) -> bool:
    return any(pattern.search(message) for pattern in entries().get(name, ()))


@pytest.mark.parametrize("name", KINDS)
def test_every_error_has_an_entry(name: str) -> None:
    assert entries().get(name), f"{name} has no message on the page"


@pytest.mark.parametrize("name", CERTAIN)
def test_every_message_of_an_error_that_people_must_act_on_has_an_entry(name: str) -> None:
    """Except those of wrong arguments, which say themselves what is expected, and those that pass on the service's words."""
    missing = [f"{place}: {text}" for place, kind, text in RAISED if kind == name and text != "…" and not is_on_page(name, text)]

    assert missing == []


def test_every_refusal_before_anything_is_sent_has_an_entry() -> None:
    refusals = [(place, kind, text) for place, kind, text in RAISED if kind == "InputError" and place.startswith(PREFLIGHT)]

    assert len(refusals) > 20
    assert [f"{place}: {text}" for place, kind, text in refusals if text != "…" and not is_on_page(kind, text)] == []


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_cause_and_advice(reason: Reason) -> None:
    by_reason = PAGE.split("\n## By reason\n")[1].split("\n## ")[0]
    [row] = re.findall(rf"^\| `{reason}` \| (.+) \| (.+) \|$", by_reason, re.MULTILINE)

    assert all(len(cell) > 10 for cell in row)
