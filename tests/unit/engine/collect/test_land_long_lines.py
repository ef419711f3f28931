"""A line that is too long for memory costs its row and nothing else, and is never held whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.collect.output_check import doubt
from airflow_gemini_batch.engine.response import lines
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from tests.unit.engine.shard_files import answer, receive, rows_of, run_at, write_shard

WELL = Ending(job="batches/j1")
PART = ShardAttempt(0)
LONGEST = 200_000


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(lines, "LONGEST_LINE", LONGEST)
    return run_at(tmp_path)


def long_line(key: str, *, at: str, size: int = 3 * LONGEST) -> bytes:
    body = json.dumps({"candidates": [{"content": {"parts": [{"text": 'x, "key": "z"'}]}}]})[:-1] + ', "pad": "'
    filled = f'{body}{"p" * (size - len(body))}"}}'
    parts = {"head": f'{{"key": "{key}", "response": {filled}}}', "tail": f'{{"response": {filled}, "key": "{key}"}}'}
    return parts.get(at, f'{{"response": {filled}}}').encode()


@pytest.mark.parametrize("at", ["head", "tail"])
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_row_whose_key_can_be_read_is_told_its_size(run: Run, at: str, position: int, end: bytes) -> None:
    shard = write_shard(run, ["a", "b", "c"])
    long = long_line("b", at=at)
    sent = [answer("a"), answer("c")]
    sent.insert(position, long)
    output = b"\n".join(sent) + end
    run.responses_file(shard.id).write(output)

    landed = land(run, shard, WELL)

    [letter] = rows_of(run.dead_letter_part(PART))
    assert (letter["key"], letter["reason"], letter["retryable"], letter["response"]) == ("b", "MALFORMED_LINE", False, None)
    assert f"{len(long):,} bytes" in letter["message"]
    assert str(run.responses_file(shard.id)) in letter["message"]
    assert letter["request"] is not None
    assert (landed.results, landed.dead_letter, landed.aside["malformed"]) == (2, 1, 0)
    assert run.responses_file(shard.id).read() == output


def test_a_line_whose_key_cannot_be_read_is_put_aside_whole(run: Run) -> None:
    shard = write_shard(run, ["a", "b"])
    long = long_line("", at="nowhere")
    receive(run, shard, [long, answer("a")])

    landed = land(run, shard, WELL)

    assert [(row["key"], row["reason"]) for row in rows_of(run.dead_letter_part(PART))] == [("b", "MISSING")]
    assert landed.aside["malformed"] == 1
    assert run.aside_file(shard.id).read() == long + b"\n"


def test_a_readable_line_for_the_same_row_decides(run: Run) -> None:
    shard = write_shard(run, ["a"])
    receive(run, shard, [long_line("a", at="head"), answer("a"), long_line("a", at="tail")])

    landed = land(run, shard, WELL)

    assert (landed.results, landed.dead_letter, landed.aside["malformed"]) == (1, 0, 2)


@pytest.mark.parametrize("size", [-1, 0, 1])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_the_bound_is_exact(run: Run, size: int, end: bytes) -> None:
    shard = write_shard(run, ["a"])
    line = answer("a")[:-1]
    line += b" " * (LONGEST + size - len(line) - 1) + b"}"
    run.responses_file(shard.id).write(line + end)

    assert land(run, shard, WELL).results == (1 if size <= 0 else 0)


@pytest.mark.parametrize("size", [None, "known"])
def test_an_output_with_such_a_line_is_believed(run: Run, tmp_path: Path, size: str | None) -> None:
    body = tmp_path / "body"
    body.write_bytes(long_line("a", at="head") + b"\n" + answer("b") + b"\n")

    assert doubt(body, size=None if size is None else body.stat().st_size, expected=2, keys={"a", "b"}) is None


_LANDING = """
import resource, sys
from airflow_gemini_batch.engine.collect.land import Ending, land
from airflow_gemini_batch.engine.collect.output_check import doubt
from airflow_gemini_batch.engine.response import lines
from airflow_gemini_batch.engine.run.layout import Run, ShardAttempt
from tests.unit.engine.shard_files import answer, receive, run_at, write_shard
from pathlib import Path

lines.LONGEST_LINE = 1 << 20
run = run_at(Path(sys.argv[1]))
shard = write_shard(run, ["a", "b", "c"])
receive(run, shard, [answer("c")])
land(run, shard, Ending(job="batches/j1"))  # what is imported and allocated once is not counted
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(run.responses_file(shard.id).path, "wb") as file:
    for head in (b'{"key": "a", "response": "', b'{"response": "'):
        file.write(head)
        for _ in range(200):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\\n')
    file.write(answer("c") + b"\\n")
path = Path(run.responses_file(shard.id).path)
assert doubt(path, size=path.stat().st_size, expected=3, keys={"a", "b", "c"}) is None
landed = land(run, shard, Ending(job="batches/j1"))
assert (landed.results, landed.dead_letter, landed.aside["malformed"]) == (1, 2, 1), landed
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="ru_maxrss is in bytes there")
def test_memory_holds_the_bound_and_not_the_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _LANDING, str(tmp_path)], capture_output=True, text=True, check=True)

    assert int(done.stdout) < 50_000, "kilobytes, for a line of 200 MB and a bound of 1 MB"
