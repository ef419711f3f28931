"""Files as a table: which ones are found, what they hold, and what is said of those that cannot be read."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_gemini_batch.engine.arrow.texts import texts
from airflow_gemini_batch.engine.arrow.values import NoText
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.source.open import Source, open_source


def rows(source: Source, columns: list[str] | None = None) -> list[dict[str, Any]]:
    names = source.schema.names if columns is None else columns
    return [row for batch in source.batches(names) for row in batch.to_pylist()]


def write_parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


# --- Parquet


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", a=[1, 2], b=["x", "y"])

    assert rows(open_source(file), ["b"]) == [{"b": "x"}, {"b": "y"}]
    assert open_source(str(file)).description == str(file)


def test_a_folder_is_one_table_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b", "a", "sub/c"):
        write_parquet(tmp_path / f"{name}.parquet", a=[name])

    assert [row["a"] for row in rows(open_source(tmp_path))] == ["a", "b", "sub/c"]


def test_names_with_an_underscore_or_a_dot_are_skipped(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", a=["kept"])
    for name in ("_run/x.parquet", ".hidden/x.parquet", "_x.parquet", "._a.parquet.tmp", "_SUCCESS"):
        write_parquet(tmp_path / name, b=["skipped"])

    assert rows(open_source(tmp_path)) == [{"a": "kept"}]


def test_a_folder_below_a_hidden_one_may_be_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "_hidden" / "in" / "a.parquet", a=[1])

    assert rows(open_source(tmp_path / "_hidden" / "in")) == [{"a": 1}]


@pytest.mark.parametrize("pattern", ["2026-*/*.parquet", "2026-*", "**/part.parquet", "2026-0[12]/part.parquet"])
def test_a_glob_matches_files_and_folders(tmp_path: Path, pattern: str) -> None:
    for month in ("2026-02", "2026-01"):
        write_parquet(tmp_path / month / "part.parquet", a=[month])

    assert [row["a"] for row in rows(open_source(f"{tmp_path}/{pattern}"))] == ["2026-01", "2026-02"]


def test_a_file_that_is_called_like_a_glob_is_itself(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a[1].parquet", a=[1])

    assert rows(open_source(file)) == [{"a": 1}]


def test_a_list_is_read_in_its_own_order_and_each_file_once(tmp_path: Path) -> None:
    a, b = (write_parquet(tmp_path / f"{name}.parquet", a=[name]) for name in "ab")

    assert [row["a"] for row in rows(open_source([str(b), a, tmp_path]))] == ["b", "a"]


def test_a_dictionary_in_one_file_and_plain_text_in_another_are_one_column(tmp_path: Path) -> None:
    write_parquet(tmp_path / "1.parquet", a=pa.array(["x"]).dictionary_encode())
    write_parquet(tmp_path / "2.parquet", a=["y"])

    assert rows(open_source(tmp_path)) == [{"a": "x"}, {"a": "y"}]


def test_a_pandas_period_in_a_file_is_one_here(tmp_path: Path) -> None:
    pandas.DataFrame({"p": pandas.period_range("2026-01", periods=1, freq="M")}).to_parquet(tmp_path / "a.parquet")

    [batch] = open_source(tmp_path / "a.parquet").batches(["p"])

    assert texts(batch.column(0)) == ["2026-01"]


def test_files_are_unified_where_types_allow(tmp_path: Path) -> None:
    write_parquet(tmp_path / "1.parquet", a=pa.array([1], pa.int32()), b=["x"])
    write_parquet(tmp_path / "2.parquet", a=pa.array([2**40], pa.int64()), c=["y"])

    assert rows(open_source(tmp_path)) == [{"a": 1, "b": "x", "c": None}, {"a": 2**40, "b": None, "c": "y"}]


def test_files_that_cannot_be_one_table_are_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "1.parquet", a=[1])
    write_parquet(tmp_path / "2.parquet", a=["x"])

    with pytest.raises(InputError, match=r"2\.parquet does not fit with the files before it.*1\.parquet"):
        open_source(tmp_path)


def test_columns_with_dots_are_told_from_nested_ones(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", a=[{"b": 1}], **{"a.b": ["x"]})

    assert rows(open_source(file), ["a.b"]) == [{"a.b": "x"}]
    assert rows(open_source(file), ["a"]) == [{"a": {"b": 1}}]


def test_dictionaries_are_read_as_what_they_hold(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", a=pa.array(["x", None, "x"]).dictionary_encode())

    source = open_source(file)

    assert source.schema.field("a").type == pa.string()
    assert [row["a"] for row in rows(source)] == ["x", None, "x"]


def test_fat_row_groups_are_read_a_few_rows_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "fat.parquet"
    # A page is the least that can be read; by default the writer looks at its size only every 1024 rows.
    pq.write_table(pa.table({"a": [os.urandom(1 << 20) for _ in range(60)]}), file, write_batch_size=2, use_dictionary=False)
    before = pa.total_allocated_bytes()
    highest = 0

    for _ in open_source(file).batches(["a"]):
        highest = max(highest, pa.total_allocated_bytes() - before)

    assert highest < 40 << 20


def test_reading_parquet_does_not_import_pandas(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", a=["x", None], b=[1, 2])
    program = (
        "import sys; from airflow_gemini_batch.engine.source.open import open_source\n"
        f"for batch in open_source({str(file)!r}).batches(['a', 'b']): batch.to_pylist()\n"
        "print('pandas' in sys.modules)"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )

    assert run.stdout.strip() == "False"


# --- text


def test_csv_is_the_text_that_stands_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text,n\n007,"two\nlines",1.10\n8,,NA\n9,"",2026-01-02\n')

    assert rows(open_source(tmp_path / "a.csv")) == [
        {"id": "007", "text": "two\nlines", "n": "1.10"},
        {"id": "8", "text": None, "n": "NA"},
        {"id": "9", "text": "", "n": "2026-01-02"},
    ]


def test_csv_may_be_compressed_or_separated_by_tabs(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,x\n"))
    (tmp_path / "b.tsv").write_text("a\tb\n1\tx,y\n")

    assert rows(open_source(tmp_path / "a.csv.gz")) == [{"a": "1", "b": "x"}]
    assert rows(open_source(tmp_path / "b.tsv")) == [{"a": "1", "b": "x,y"}]


def test_json_lines_are_read_with_the_types_of_json(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1, "when": "2026-01-02", "n": {"x": [1, null]}}\n{"a": 2, "when": null}\n')

    assert rows(open_source(tmp_path / "a.jsonl")) == [
        {"a": 1, "when": "2026-01-02", "n": {"x": [1, None]}},
        {"a": 2, "when": None, "n": None},
    ]


@pytest.mark.parametrize(
    "lines",
    [
        '{"a": 9223372036854775808}',
        '{"a": 12345678901234567890}\n{"a": 1}',
        '{"a": -9223372036854775809}',
        '{"a": 1.5}\n{"a": 9007199254740993}',
        '{"a": [1, 9223372036854775808]}',
        '{"a": {"b": [{"c": 9223372036854775808}]}}',
    ],
)
def test_integers_that_their_column_would_round_are_refused(tmp_path: Path, lines: str) -> None:
    (tmp_path / "a.jsonl").write_text(lines + "\n")

    with pytest.raises(InputError, match=r"a\.jsonl as JSON Lines: the column 'a' holds the integer .* as text"):
        rows(open_source(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    "row",
    [
        {"a": 2**63 - 1, "b": 1.5},
        {"a": {"id": 2**60 + 1, "score": 0.1234567890123456}},
        {"a": [0.5, 1, 2**53], "b": "12345678901234567890"},
        {"a": 0.5, "b": "é 1234567890123456"},
    ],
)
def test_exact_numbers_are_read_as_they_are(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")

    assert rows(open_source(tmp_path / "a.jsonl"), ["a"]) == [{"a": row["a"]}]


@pytest.mark.parametrize("text", ['{"a": 1, "b": "x"}', '\n{"a": 1, "b": "x"}', '{"a": 1, "b": "x"}\r\n'])
def test_a_single_line_needs_no_end(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)

    assert rows(open_source(tmp_path / "a.jsonl")) == [{"a": 1, "b": "x"}]


@pytest.mark.parametrize("name", ["a.ndjson", "a.json", "a.jsonl.gz"])
def test_json_lines_have_many_names(tmp_path: Path, name: str) -> None:
    content = b'{"a": "x"}\n'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    assert rows(open_source(tmp_path / name)) == [{"a": "x"}]


def test_a_line_that_is_longer_than_arrows_default_block_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1," + "x" * (3 << 20) + "\n")

    assert len(rows(open_source(tmp_path / "a.csv"))[0]["b"]) == 3 << 20


# --- object stores


def test_an_object_store_is_read_like_a_disk() -> None:
    fs = fsspec.filesystem("memory")
    for lang in ("de", "en"):
        with fs.open(f"/bucket/in/lang={lang}/p.parquet", "wb") as file:
            pq.write_table(pa.table({"a": [lang]}), file)

    source = open_source("memory://bucket/in")

    assert rows(source) == [{"a": "de", "lang": "de"}, {"a": "en", "lang": "en"}]
    assert rows(open_source("memory://bucket/in/*/p.parquet")) == rows(source)
    assert source.fingerprint() == open_source("memory://bucket/in").fingerprint()


def test_the_caller_says_how_a_uri_is_opened(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", a=[1])

    def elsewhere(uri: str) -> Location:
        return locate(uri.replace("conn@place:/", str(tmp_path)))

    assert rows(open_source("conn@place://a.parquet", locate=elsewhere)) == [{"a": 1}]


# --- fingerprints of files


def test_the_fingerprint_of_files_changes_when_one_is_written_again(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", a=[1])
    was = open_source(tmp_path).fingerprint()
    assert open_source(tmp_path).fingerprint() == was

    os.utime(file, ns=(1, 1))

    assert open_source(tmp_path).fingerprint() != was


def test_the_fingerprint_of_files_changes_when_one_is_added(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", a=[1])
    was = open_source(tmp_path).fingerprint()

    write_parquet(tmp_path / "b.parquet", a=[1])

    assert open_source(tmp_path).fingerprint() != was


# --- what cannot be read


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.parquet does not exist"):
        open_source(tmp_path / "nowhere.parquet")


@pytest.mark.parametrize("pattern", ["*.parquet", ""])
def test_nothing_to_read_is_an_error_that_says_what_is_accepted(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError, match=r"holds no file to read\. Accepted are \.parquet, \.csv"):
        open_source(f"{tmp_path}/{pattern}")


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.parquet.gz", "a.gz"])
def test_an_unknown_format_is_an_error_that_says_what_is_accepted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")

    with pytest.raises(InputError, match=r"has no known format by its name.*\.parquet, \.csv"):
        open_source(tmp_path / name)


def test_mixed_formats_are_an_error_that_shows_one_of_each(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", a=[1])
    (tmp_path / "b.csv").write_text("a\n1\n")

    with pytest.raises(InputError, match=r"mixes formats: .*a\.parquet is Parquet; .*b\.csv is CSV"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1 torn"),
        ("a.parquet", b""),
        ("a.csv", b""),
        ("a.csv", b"a,b\n1,2\n3\n"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n'),
        ("a.json", b'[\n{"a": 1}\n]'),
        ("a.csv.gz", b"not gzip"),
    ],
)
def test_a_file_that_makes_no_sense_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError, match=rf"Cannot read .*{name} as "):
        rows(open_source(tmp_path / name))


def test_a_file_that_goes_away_while_it_is_needed_is_named(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", a=[1])
    source = open_source(file)
    file.unlink()

    with pytest.raises(InputError, match=r"Cannot read .*a\.parquet as Parquet: FileNotFoundError"):
        rows(source)
    with pytest.raises(InputError, match=r"a\.parquet"):
        source.fingerprint()


def test_a_store_that_refuses_is_an_input_error() -> None:
    class Refused(Exception):
        pass

    def refuse(uri: str) -> Location:
        raise Refused("no credentials")

    with pytest.raises(InputError, match=r"Cannot read s3://bucket/a\.parquet: Refused: no credentials"):
        open_source("s3://bucket/a.parquet", locate=refuse)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("letter", list("äéñß€’"))
def test_text_in_cp1252_is_said_by_name(tmp_path: Path, name: str, letter: str) -> None:
    rows = ["id,t", f"1,caf{letter}", "2,ok"] if name == "a.csv" else [f'{{"id":"1","t":"caf{letter}"}}', '{"id":"2","t":"ok"}']
    (tmp_path / name).write_bytes("\n".join(rows).encode("cp1252"))

    [batch] = open_source(str(tmp_path / name)).batches(["t"])
    strange, fine = texts(batch.column(0))

    assert fine == "ok"
    assert isinstance(strange, NoText)
    assert f"in Windows-1252 (cp1252) or Latin-1 it would be {letter!r}" in strange.reason
    assert "iconv -f CP1252 -t UTF-8" in strange.reason


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_column_whose_name_is_in_cp1252_is_said_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(("größe\n1\n" if name == "a.csv" else '{"größe": 1}\n').encode("cp1252"))

    with pytest.raises(InputError, match=r"iconv -f CP1252 -t UTF-8"):
        open_source(str(tmp_path / name))
