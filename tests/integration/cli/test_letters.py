"""``gemini-batch letters``: what is shown, sent again and discarded."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_gemini_batch import GenerateRequest, run_batch
from airflow_gemini_batch.emulator import Emulator, RowFault
from tests.integration.cli.conftest import Command

OPTIONS = {"poll_interval": 0.05, "listing_lag": 0.1, "max_redrives": 0, "max_dead_letter_ratio": 1.0}
WORDS = [word for name, value in OPTIONS.items() for word in ("--option", f"{name}={value}")]
EVIL = "\x1b[31mred[/]\tor [bold]<script>\u202e"


@pytest.fixture
def run(emulator: Emulator, tmp_path: Path) -> str:
    """A finished run: k1 and k2 (which ask the same) have a retryable error, the key that is evil has another one."""
    emulator.faults.add(
        RowFault(do="error", keys=("k1",), code=13, message="try again"), RowFault(do="error", keys=(EVIL,), code=3, message=EVIL)
    )
    run_batch(
        pa.table({"id": ["k0", "k1", "k2", EVIL], "body": ["a", "b", "b", "c"]}),
        GenerateRequest(prompt="${body}"),
        model="gemini-3.6-flash",
        destination=str(tmp_path / "run"),
        key="id",
        options=OPTIONS,
    )
    emulator.faults.clear()
    return str(tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ([], ["k1", "evil", "k2"]),
        (["--key", "k2"], ["k2"]),
        (["--code", "13"], ["k1", "k2"]),
        (["--not-retryable"], ["evil"]),
        (["--retryable", "--message", "/^try/"], ["k1", "k2"]),
        (["--reason", "REQUEST_ERROR", "--limit", "1"], ["k1"]),
        (["--limit", "0"], []),
    ],
    ids=str,
)
def test_the_selected_letters_are_lines_and_all_are_counted(
    words: list[str], keys: list[str], run: str, gemini_batch: Command
) -> None:
    code, lines, counts = gemini_batch("letters", "inspect", run, *words)

    shown = [line.split("\t") for line in lines]
    assert code == 0
    assert [cells[0] if cells[0].startswith("k") else "evil" for cells in shown] == keys
    assert all(len(cells) == 6 for cells in shown)
    assert "\x1b" not in counts + "".join(lines)
    if "--limit" in words:
        assert counts.startswith(f"3 dead letters, 0 of them discarded; {3 - len(keys)} not shown (--limit)\n")
        assert "      3  REQUEST_ERROR\n          2  try again" in counts


def test_one_json_document_says_everything(run: str, gemini_batch: Command) -> None:
    gemini_batch("letters", "discard", run, "--key", "k2", "--yes")

    code, lines, _ = gemini_batch("letters", "inspect", run, "--json", "--full")

    said = json.loads("\n".join(lines))
    assert code == 0
    assert (said["destination"], said["finished"], said["count"], said["discarded"]) == (run, True, 3, 2)
    assert said["reasons"] == {"REQUEST_ERROR": 3}
    assert said["messages"]["REQUEST_ERROR"][0] == {"message": "try again", "rows": 2}
    assert [(letter["key"], letter["paid_by"], letter["discarded"]) for letter in said["letters"]] == [
        ("k1", None, True), (EVIL, None, False), ("k2", "k1", True),
    ]  # fmt: skip
    assert json.loads(said["letters"][0]["request"])["contents"]
    empty = json.loads("\n".join(gemini_batch("letters", "inspect", run, "--json", "--reason", "MISSING")[1]))
    assert (empty["count"], empty["letters"]) == (0, [])


def test_a_letter_is_shown_whole_and_harmless(run: str, gemini_batch: Command) -> None:
    _, lines, _ = gemini_batch("letters", "inspect", run, "--full", "--not-retryable")

    text = "\n".join(lines)
    assert text.startswith("key: \\x1b[31mred[/]\\tor [bold]<script>\\u202e\n")
    assert "\nrequest: {\n" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_selected_letters_are_sent_again_and_discarded_ones_are_not(run: str, gemini_batch: Command) -> None:
    code, lines, _ = gemini_batch("letters", "discard", run, "--message", "try", "--note", "too dear", "--yes", "--json")
    assert (code, json.loads("\n".join(lines))["discarded"]) == (0, 2)
    [fact] = [json.loads(file.read_bytes()) for file in Path(run, "_run", "ledger").glob("*.discard-*.json")]
    assert (fact["keys"], fact["note"], fact["selection"]) == ({"k1": 2}, "too dear", {"message": "try"})
    assert gemini_batch("letters", "discard", run, "--key", "k1")[:2] == (
        0, [f"0 dead letters discarded, 2 already were, in {run}"],
    )  # fmt: skip

    assert "dead letters  3: REQUEST_ERROR 3; 2 discarded" in gemini_batch("status", run)[1]

    code, lines, said = gemini_batch("letters", "replay", run, "--reason", "REQUEST_ERROR", "--yes", *WORDS)

    assert code == 0
    assert f"1 dead letters of {run} are resubmitted." in said
    assert lines[-1].startswith("4 rows: 2 results, 2 dead letters, ")
    code, lines, _ = gemini_batch("letters", "replay", run, "--include-discarded", "--yes", *WORDS)
    assert lines[-1].startswith("4 rows: 4 results, 0 dead letters, ")


@pytest.mark.parametrize("action", ["replay", "discard"])
@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_a_person_at_a_terminal_is_asked(
    action: str, answer: str, code: int, run: str, gemini_batch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, terminal = os.openpty()
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        os.write(person, answer.encode())

        ended, _, said = gemini_batch("letters", action, run, *(WORDS if action == "replay" else []))
    os.close(person)

    assert ended == code
    assert "Go on? [y/N]" in said
    left = json.loads("\n".join(gemini_batch("letters", "inspect", run, "--json")[1]))
    touched = left["discarded"] if action == "discard" else 3 - left["count"]
    assert touched == (0 if code else 3 if action == "discard" else 2)


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_where_nobody_can_be_asked_nothing_is_done(
    action: str, run: str, gemini_batch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    code, _, said = gemini_batch("letters", action, run)

    assert code == 1
    assert "Pass --yes; nothing was done." in said
    assert json.loads("\n".join(gemini_batch("letters", "inspect", run, "--json")[1]))["discarded"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspect", "--reason", "BROKEN"], "reasons holds 'BROKEN'"),
        (["inspect", "--message", "/(/"], "cannot be used as a regular expression"),
        (["inspect", "--limit", "-1"], "--limit is -1; expected a number of letters from 0."),
        (["discard", "--key", "k0", "--yes"], "1 keys are not dead letters"),
        (["replay", "--limit", "0", "--yes"], "limit is 0; expected"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_one_line(words: list[str], said: str, run: str, gemini_batch: Command) -> None:
    code, _, error = gemini_batch("letters", words[0], run, *words[1:])

    assert code == 1
    assert said in error


def test_letters_of_a_run_that_is_not_finished_are_shown_with_a_word_about_it(run: str, gemini_batch: Command) -> None:
    Path(run, "summary.json").unlink()

    code, lines, said = gemini_batch("letters", "inspect", run)

    assert (code, len(lines)) == (0, 3)
    assert "The run is not finished: its dead letters may still change." in said
