"""google-genai's own tests of batches, caches and files, which its wheel carries, run against the emulator.

Google runs them against the service with resources that exist there. Here each place in their text that names such a resource
gets one of its own, made through the SDK; base URLs become the emulator's, and the pictures and films that the wheel lacks are
made up. Nothing else is changed.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import google.genai
import pytest
from google import genai
from google.genai import types

from airflow_gemini_batch.emulator import Emulator
from airflow_gemini_batch.emulator.answers.picture import png
from tests.integration.emulator.conftest import MODEL

#: The table below is that of one version: others have other tests.
VERSION = "3.6."

pytestmark = [
    pytest.mark.skipif(not google.genai.__version__.startswith(VERSION), reason=f"the table is that of google-genai {VERSION}x"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

SDK = Path(google.genai.__file__).parent
FOLDERS = ("batches", "caches", "files")

#: Test -> why it does not pass. A test that passes must not be here.
EXPECTED_FAILURES = {
    "caches/test_create::test_caches_create_with_googleai_file_expire_time": "asks for a cache that expires in December 2025",
    "files/test_download::test_name_transform_name": "expects the first generated file to be a film; here it is "
    "a batch's output, whose name the SDK cuts at the hyphen",
    **dict.fromkeys(
        [
            "files/test_download::test_basic_download",
            "files/test_download::test_basic_download_async",
            "files/test_download::test_destination_download",
            "files/test_download::test_async_destination_download",
        ],
        "expects the first generated file to be an MP4 film; the emulator generates outputs of batches only",
    ),
    **dict.fromkeys(
        [
            "files/test_register::test_async_single",
            "files/test_register::test_async_token_refresh",
            "files/test_register::test_async_quota_project",
            "files/test_register::test_async_multiple_uris",
        ],
        "calls no service: its mock of a coroutine function returns a coroutine that nobody awaits",
    ),
    **dict.fromkeys(
        ["files/test_register_table::test_register", "files/test_register_table::test_async"],
        "sends no OAuth token, because its helper forgets to return the headers; the answer is 401, as at the service",
    ),
}

LINE = '{"key": "a", "request": {"contents": [{"parts": [{"text": "Hi."}]}]}}\n'
EMBED_LINE = '{"key": "a", "request": {"content": {"parts": [{"text": "Hi."}]}}}\n'
PDF = b"%PDF-1.4\n" + b"<< /Type /Page >>\n" * 10


class Resources:
    """Makes what the tests expect to exist at the service."""

    def __init__(self, client: genai.Client) -> None:
        self._client = client

    def file(self, old: str) -> str:
        content, mime_type = {
            "s0pa54alni6w": (LINE.encode(), "jsonl"),
            "mq9e3mg3u2y5": (EMBED_LINE.encode(), "jsonl"),
            "kje1wewvo85z": (png(1), "image/jpeg"),
            "v200dhvn15h7": (PDF, "application/pdf"),
        }.get(old, (b"any content", "text/plain"))
        made = self._client.files.upload(file=io.BytesIO(content), config=types.UploadFileConfig(mime_type=mime_type))
        return f"{made.name}"

    def cache(self) -> str:
        contents = "A long handbook. " * 1000
        return f"{self._client.caches.create(model=MODEL, config={'contents': contents}).name}"

    def job(self) -> str:
        return f"{self._client.batches.create(model=MODEL, src=self.file('s0pa54alni6w')).name}"

    def embedding_job(self, *, inline: bool) -> str:
        source = {"inlined_requests": {"contents": ["Hi."]}} if inline else {"file_name": self.file("mq9e3mg3u2y5")}
        return f"{self._client.batches.create_embeddings(model='gemini-embedding-001', src=source).name}"

    def placed_in(self, text: str, url: str) -> str:
        """The text of a test with resources of the emulator."""
        replacements: list[tuple[str, Callable[[re.Match[str]], str]]] = [
            (r"\b_MLDEV_EMBEDDING_BATCH_INLINE_OPERATION_NAME\b(?! =)", lambda _: repr(self.embedding_job(inline=True))),
            (r"\b_MLDEV_EMBEDDING_BATCH_FILE_OPERATION_NAME\b(?! =)", lambda _: repr(self.embedding_job(inline=False))),
            (r"\b_MLDEV_BATCH_OPERATION_NAME\b(?! =)", lambda _: repr(self.job())),
            (r"\bconstants\.CACHED_CONTENT_NAME_MLDEV\b", lambda _: repr(self.cache())),
            (r"(cachedContents/)?o239k1gxzz0juy9wqstndhncr85krehehf551hqh", lambda old: self.cache()[0 if old[1] else 15 :]),
            (r"\bfiles/([a-z0-9]{12})\b", lambda old: self.file(old[1])),
        ]
        for pattern, made in replacements:
            text = re.sub(pattern, made, text)
        return with_base_url(text, url)


def with_base_url(text: str, url: str) -> str:
    """The text with the emulator's address for those of the Gemini API and of Vertex AI."""
    hosts = r"(?:autopush-)?generativelanguage(?:\.sandbox)?|us-central1-aiplatform"
    return re.sub(rf"https://(?:{hosts})\.googleapis\.com(?!/v1)", url, text)


@pytest.fixture
def sdk_with_tests(tmp_path: Path, start: Callable[..., Emulator], connect: Callable[..., genai.Client]) -> Path:
    """A copy of the SDK, whose modules are links to the installed ones, with the tests."""
    emulator = start(pending_seconds=0, running_seconds=0, processing_seconds=0, max_active_jobs=10_000)
    resources = Resources(connect(emulator.url))
    copy = tmp_path / "google" / "genai"
    copy.mkdir(parents=True)
    for entry in SDK.iterdir():
        if entry.name == "_api_client.py":  # the service's address is in it: no call may leave the machine
            (copy / entry.name).write_text(with_base_url(entry.read_text(), emulator.url))
        elif entry.name not in ("tests", "__pycache__"):
            (copy / entry.name).symlink_to(entry)
    # The tests find data beside themselves and in the working folder. That cannot be the SDK's: its `types` is not Python's.
    data = tmp_path / "work" / "tests" / "data"
    data.mkdir(parents=True)
    (copy / "tests").mkdir()
    (copy / "tests" / "data").symlink_to(data)
    (data / "google.png").write_bytes(png(1))
    for name in ("google.jpg", "story.pdf", "animal.mp4", "pixel.m4a"):
        (data / name).write_bytes(b"made up")
    for file in (SDK / "tests").glob("*.py"):
        shutil.copy(file, copy / "tests")
    for folder in FOLDERS:
        (copy / "tests" / folder).mkdir()
        for file in (SDK / "tests" / folder).glob("*.py"):
            (copy / "tests" / folder / file.name).write_text(resources.placed_in(file.read_text(), emulator.url))
    emulator.wait_idle()
    return copy


def outcomes(report: Path) -> dict[str, str]:
    """Outcome by test: `folder/module::name`. Tests of Vertex AI, which are skipped, are left out."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  (written by our own pytest)
        name = f"{case.get('classname', '').partition('tests.')[2].replace('.', '/')}::{case.get('name', '').partition('[')[0]}"
        outcome = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        if outcome != "skipped":
            found[name] = outcome
    return found


def test_the_sdks_own_tests_pass_but_for_those_listed(sdk_with_tests: Path, tmp_path: Path) -> None:
    copy = sdk_with_tests
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (tmp_path / "replays").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "GOOGLE_API_KEY": "any",
        "GOOGLE_GENAI_REPLAYS_DIRECTORY": str(tmp_path / "replays"),
        "GOOGLE_GENAI_RUN_GEMINI_ONLY_IN_API_MODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--mode=api", "-c", str(tmp_path / "pytest.ini")]
    command += [
        "-o",
        "consider_namespace_packages=true",
        "--junitxml",
        str(tmp_path / "report.xml"),
        "--tb=short",
        "-p",
        "no:warnings",
    ]
    command += [str(copy / "tests" / folder) for folder in FOLDERS]

    ran = subprocess.run(
        command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True, timeout=240, check=False
    )

    assert (tmp_path / "report.xml").exists(), ran.stdout[-3000:] + ran.stderr[-3000:]
    found = outcomes(tmp_path / "report.xml")
    failed = {name for name, outcome in found.items() if outcome != "passed"}
    assert failed == set(EXPECTED_FAILURES), ran.stdout[-20_000:]
    assert len(found) - len(failed) >= 130
