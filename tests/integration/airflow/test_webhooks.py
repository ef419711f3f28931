"""From the end of a job to the task that waited for it: the emulator's webhook, the plugin's receiver, the triggerer."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from airflow_gemini_batch.cli import main
from airflow_gemini_batch.emulator import Emulator, HttpFault, JobFault, WebhookFault
from airflow_gemini_batch.engine.client import Endpoint, GeminiClient
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.hooks.gemini import GeminiHook
from airflow_gemini_batch.operators.batch import GeminiBatchOperator
from airflow_gemini_batch.plugin import GeminiBatchPlugin
from airflow_gemini_batch.triggers.batch import GeminiBatchTrigger
from airflow_gemini_batch.triggers.events import GeminiBatchEventTrigger
from airflow_gemini_batch.webhooks.settings import WebhookSettings
from tests.doc_snippets import DOCS, run_snippets
from tests.integration.airflow.conftest import KEY, MODEL, Legs
from tests.integration.airflow.test_poller import looks
from tests.unit.webhooks import signing

SECRET = f"whsec_{signing.SECRET}"

#: With webhooks the service is asked every ten times as many seconds: never within a test.
SLOW = 30.0


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(tmp_path / "service", pending_seconds=0.5, running_seconds=1, webhook_retry_seconds=0.3) as emulator:
        yield emulator


@pytest.fixture
def receiver() -> Iterator[str]:
    """The plugin's application where the API server mounts it; answers the address of the default connection."""
    [mounted] = GeminiBatchPlugin.fastapi_apps
    application = type(mounted["app"])()
    listener = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=[Mount(mounted["url_prefix"], application)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}{mounted['url_prefix']}/gemini_default"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "knocks"


@pytest.fixture
def registered(connect: Callable[..., None], receiver: str, folder: Path) -> None:
    """A registered webhook, whose secret the connection knows."""
    webhook = GeminiHook().webhooks.create(receiver, name="airflow")
    connect(extra=json.dumps({"webhook_signing_secret": webhook.secret, "webhook_folder": str(folder)}))


@pytest.fixture
def own(connect: Callable[..., None], receiver: str, folder: Path) -> None:
    """No registered webhook: each job brings its own."""
    connect(extra=json.dumps({"webhook_uri": receiver, "webhook_folder": str(folder)}))


@pytest.fixture
def submit(emulator: Emulator, tmp_path: Path) -> Callable[..., list[str]]:
    def submit(count: int = 1, *, embeds: bool = False) -> list[str]:
        content = {"parts": [{"text": "hello"}]}
        request = {"content": content} if embeds else {"contents": [content]}
        (tmp_path / "one.jsonl").write_text(json.dumps({"key": "a", "request": request}) + "\n")
        model = "gemini-embedding-001" if embeds else MODEL
        with GeminiClient(GeminiHook().endpoint) as client, open(tmp_path / "one.jsonl", "rb") as file:
            sent = client.upload(file, name=None, display_name="one").name
            jobs = [client.create_job(model=model, input_file=sent, display_name=f"job {n}", embeds=embeds) for n in range(count)]
            return [job.name for job in jobs]

    return submit


def wait_for(jobs: list[str], *, poll_interval: float = SLOW, seconds: float = 20.0) -> tuple[dict[str, Any], float]:
    """The trigger's event, and after how many seconds it came."""
    trigger = GeminiBatchTrigger(
        gemini_conn_id="gemini_default", jobs=jobs, poll_interval=poll_interval, deadline=time.time() + seconds
    )

    async def event() -> dict[str, Any]:
        return dict((await anext(trigger.run())).payload)

    begun = time.monotonic()
    return asyncio.run(event()), time.monotonic() - begun


def deliveries(emulator: Emulator, count: int = 1) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 15
    while True:
        found = emulator.deliveries()
        if len(found) >= count and all(delivery["state"] != "waiting" for delivery in found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["registered", "own"])
def test_a_webhook_wakes_who_waits_and_nobody_polls(kind, request, emulator, connect, submit, folder):
    request.getfixturevalue(kind)
    jobs = submit()

    event, seconds = wait_for(jobs)

    assert event["why"] == "settled"
    assert seconds < 8
    assert looks(emulator) == {"get": 1}
    assert [delivery["webhook"] is None for delivery in deliveries(emulator)] == [kind == "own"]
    assert [knock.name for knock in folder.glob("*.*")] == [f"{jobs[0].removeprefix('batches/')}.succeeded"]


def test_the_whole_trip_with_webhooks(emulator, registered, describe):
    operator: GeminiBatchOperator = describe(poll_interval=SLOW)

    summary = Legs(operator).finish()

    assert (summary["results"], summary["balanced"]) == (12, True)


def test_duplicates_and_disorder_change_nothing(emulator, registered, submit):
    emulator.faults.add(WebhookFault(do="out_of_order", nth=1, seconds=5), WebhookFault(do="duplicate", times=3))
    jobs = submit(2)

    for job in jobs:
        assert wait_for([job])[0]["why"] == "settled"

    assert {delivery["answered"] for delivery in deliveries(emulator, 2)} == {"204"}
    assert looks(emulator) == {"get": 2}


@pytest.mark.parametrize("do", ["bad_signature", "old_timestamp"])
def test_a_webhook_that_cannot_be_believed_wakes_nobody(do, emulator, registered, submit, folder):
    emulator.faults.add(WebhookFault(do=do, attempts=1_000))
    jobs = submit()

    _, seconds = wait_for(jobs, seconds=5)

    # The deadline is what ended the wait; the last look at it finds the job ended.
    assert seconds > 4.9
    assert not list(folder.glob("*.*"))
    assert emulator.deliveries()[0]["answered"] == "401"


def test_a_bad_try_is_followed_by_a_good_one(emulator, own, submit):
    emulator.faults.add(WebhookFault(do="bad_signature"))

    event, _ = wait_for(submit())

    assert event["why"] == "settled"
    assert deliveries(emulator)[0]["attempts"] == 2


def test_a_lost_webhook_is_made_good_by_polling(emulator, registered, submit):
    emulator.faults.add(WebhookFault(do="lost"))

    event, seconds = wait_for(submit(), poll_interval=0.4)

    assert event["why"] == "settled"
    # Ten times the interval, more or less a tenth.
    assert 3.5 < seconds < 7
    assert looks(emulator)["get"] == 1


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"webhook_folder": "nosuchscheme://bucket/knocks", "webhook_signing_secret": SECRET}, id="no such folder"),
        pytest.param({"webhook_folder": "/knocks"}, id="nobody can knock"),
        pytest.param({"webhook_folder": "/knocks", "webhook_signing_secret": "whsec_oops!"}, id="nobody is believed"),
        pytest.param({"webhook_signing_secret": SECRET}, id="no folder"),
    ],
)
def test_where_no_knock_can_come_the_service_is_polled_as_ever(extra, emulator, connect, submit, tmp_path):
    extra = {name: value.replace("/knocks", f"{tmp_path}/knocks") for name, value in extra.items()}
    connect(extra=json.dumps(extra))

    event, seconds = wait_for(submit(), poll_interval=0.3)

    assert event["why"] == "settled"
    assert seconds < 5
    assert looks(emulator)["get"] >= 3


def test_an_embeddings_job_that_has_no_webhook_of_its_own_is_polled_as_ever(emulator, own, submit):
    jobs = submit(embeds=True)

    event, _ = wait_for(jobs, poll_interval=0.3)

    assert event["why"] == "settled"
    assert looks(emulator)["get"] >= 3
    assert emulator.deliveries() == []


def test_a_knock_that_is_wrong_makes_it_look_as_often_as_without_webhooks(emulator, registered, submit, folder):
    emulator.faults.add(JobFault(do="hang", hang_in="RUNNING"))
    [job] = submit()
    folder.mkdir()
    (folder / f"{job.removeprefix('batches/')}.succeeded").touch()

    event, _ = wait_for([job], poll_interval=0.5, seconds=3)

    assert event["why"] == "timeout"
    assert 4 <= looks(emulator)["get"] <= 8


def test_many_who_wait_are_each_woken_by_their_own(emulator, registered, submit):
    emulator.faults.add(JobFault(do="hang", display_name="job [1-3]$"))
    jobs = submit(4)
    deadline = time.time() + 8
    triggers = [
        GeminiBatchTrigger(gemini_conn_id="gemini_default", jobs=[job], poll_interval=SLOW, deadline=deadline) for job in jobs
    ]

    async def events() -> list[dict[str, Any]]:
        async def event(trigger: GeminiBatchTrigger) -> dict[str, Any]:
            return dict((await anext(trigger.run())).payload)

        return await asyncio.gather(*map(event, triggers))

    assert [event["why"] for event in asyncio.run(events())] == ["settled", "timeout", "timeout", "timeout"]


class TestAssetEvents:
    """What a DAG that is scheduled on the ends of jobs sees."""

    @staticmethod
    def watch(seconds: float, *, then: Callable[[], None] | None = None, **given: Any) -> list[dict[str, Any]]:
        """What a watcher fires in so many seconds, in the middle of which something happens."""
        trigger = GeminiBatchEventTrigger(**{"poll_interval": 0.3, "list_interval": 1_000, **given})
        fired: list[dict[str, Any]] = []

        async def run() -> None:
            async for event in trigger.run():
                fired.append(dict(event.payload))

        async def for_a_while() -> None:
            watching = asyncio.create_task(run())
            await asyncio.wait([watching], timeout=seconds / 2)
            if then is not None:
                then()
            await asyncio.wait([watching], timeout=seconds / 2)
            if watching.done():
                await watching
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

        asyncio.run(for_a_while())
        return fired

    def test_each_end_is_one_event_over_restarts_too(self, emulator, registered, submit):
        self.watch(0.5)
        jobs = submit(2)
        deliveries(emulator, 2)

        fired = self.watch(2)

        assert {event["job"] for event in fired} == set(jobs)
        assert {(event["event"], event["state"]) for event in fired} == {("batch.succeeded", "SUCCEEDED")}
        assert fired[0]["output_file"].startswith("files/batch-")
        assert self.watch(1) == []

    def test_other_watchers_fire_for_themselves(self, emulator, registered, submit):
        for events in (["batch.succeeded"], ["batch.failed"], ["batch.failed", "batch.succeeded"]):
            self.watch(0.3, events=events)
        emulator.faults.add(JobFault(do="fail", display_name="job 0"))
        failed, succeeded = submit(2)
        deliveries(emulator, 2)

        assert [event["job"] for event in self.watch(1)] == [succeeded]
        assert [event["job"] for event in self.watch(1, events=["batch.failed"])] == [failed]
        assert {event["job"] for event in self.watch(1, events=["batch.failed", "batch.succeeded"])} == {failed, succeeded}

    def test_what_was_knocked_for_before_the_first_watch_is_no_event(self, emulator, registered, submit, folder):
        submit()
        deliveries(emulator)
        time.sleep(1.1)

        assert list(folder.glob("*.succeeded"))
        assert self.watch(1) == []

    def test_a_webhook_alone_makes_no_event(self, emulator, registered, submit, folder):
        emulator.faults.add(JobFault(do="hang"))
        [running] = submit()
        folder.mkdir()
        for name in (running.removeprefix("batches/"), "neverheardof"):
            (folder / f"{name}.succeeded").touch()

        assert self.watch(1) == []

    def test_a_lost_webhook_makes_the_event_late(self, emulator, registered, submit):
        emulator.faults.add(WebhookFault(do="lost"))
        self.watch(0.5)
        jobs = submit()
        deliveries(emulator)

        assert [event["job"] for event in self.watch(2, list_interval=0.5)] == jobs

    def test_what_ended_before_the_first_watch_is_no_event(self, emulator, connect, submit, folder):
        connect(extra=json.dumps({"webhook_folder": str(folder)}))
        submit()
        time.sleep(3.2)

        assert self.watch(1, list_interval=0.3) == []

    @pytest.mark.parametrize(("status", "seconds"), [(500, 8), (403, 2)])  # the SDK itself waits some seconds
    def test_outages_and_refusals_pass(self, status, seconds, emulator, registered, submit):
        self.watch(0.3)
        jobs = submit()
        deliveries(emulator)
        emulator.faults.add(HttpFault(do="status", status=status, path="/batches", count=2))

        assert [event["job"] for event in self.watch(seconds, list_interval=0.3)] == jobs

    @pytest.mark.parametrize(
        ("broken", "told"),
        [({"password": "invalid"}, "API key"), ({"extra": "{}"}, "webhook_folder"), ({"extra": "[]"}, "no JSON object")],
    )
    def test_it_goes_on_when_the_connection_has_been_mended(
        self, broken, told, registered, connect, submit, emulator, monkeypatch, capsys
    ):
        self.watch(0.3)
        jobs = submit()
        deliveries(emulator)
        good = os.environ["AIRFLOW_CONN_GEMINI_DEFAULT"]
        connect(**{"extra": json.loads(good)["extra"], **broken})

        def mend() -> None:
            monkeypatch.setenv("AIRFLOW_CONN_GEMINI_DEFAULT", good)

        assert [event["job"] for event in self.watch(2.4, list_interval=0.3, then=mend)] == jobs
        assert told in capsys.readouterr().out

    def test_a_folder_that_cannot_be_written_makes_the_event_late(self, emulator, registered, submit, folder):
        self.watch(0.3)
        jobs = submit()
        deliveries(emulator)
        [marks] = (folder / "fired").iterdir()
        (marks / "since").rename(folder / "since")
        marks.rmdir()
        marks.write_text("a file where a folder should be")

        def mend() -> None:
            marks.unlink()
            marks.mkdir()
            (folder / "since").rename(marks / "since")

        assert [event["job"] for event in self.watch(2.4, list_interval=0.3, then=mend)] == jobs

    def test_it_can_be_stored_and_watched_with(self):
        from airflow.sdk import Asset, AssetWatcher

        trigger = GeminiBatchEventTrigger(events=["batch.failed", "batch.expired"])
        asset = Asset("gemini-batches", watchers=[AssetWatcher(name="ended", trigger=trigger)])

        path, arguments = asset.watchers[0].trigger.serialize()

        assert json.loads(json.dumps(arguments)) == arguments
        assert GeminiBatchEventTrigger(**arguments).serialize() == (path, arguments)
        with pytest.raises(ValueError, match=r"batch\.melted"):
            GeminiBatchEventTrigger(events=["batch.melted"])


class TestSubscriptions:
    def test_a_webhook_is_registered_once(self, emulator, connect):
        webhooks = GeminiHook().webhooks
        made = webhooks.create("http://127.0.0.1:1/hook", name="airflow")

        with pytest.raises(InputError, match="registered already"):
            webhooks.create("http://127.0.0.1:1/hook", name="airflow")

        assert made.secret is not None
        assert made.secret not in repr(made)
        [found] = webhooks.list()
        assert (found.id, found.name, found.is_enabled, found.secret) == (made.id, "airflow", True, None)
        assert webhooks.rotate(made.id) != made.secret
        webhooks.delete(made.id)
        webhooks.delete(made.id)
        assert webhooks.list() == []

    def test_a_create_that_is_not_answered_is_not_repeated(self, emulator, connect):
        from airflow_gemini_batch.engine.errors import OutcomeUnknownError

        webhooks = GeminiHook().webhooks
        emulator.faults.add(HttpFault(do="status", method="POST", path="/webhooks", when="after"))

        with pytest.raises(OutcomeUnknownError, match="look before"):
            webhooks.create("http://127.0.0.1:1/hook", name="airflow")

        assert len(webhooks.list()) == 1

    @pytest.mark.parametrize(
        ("status", "kind"), [(404, "NotFoundError"), (429, "QuotaError"), (403, "RefusedError"), (500, "OutcomeUnknownError")]
    )
    def test_its_errors_are_the_engines(self, emulator, connect, status, kind):
        emulator.faults.add(HttpFault(do="status", path="/webhooks", status=status))

        with pytest.raises(Exception, match="list the webhooks") as raised:
            GeminiHook().webhooks.list()

        assert type(raised.value).__name__ == kind
        assert KEY not in str(raised.value)

    def test_a_dropped_connection_and_a_wrong_key_are_told_apart(self, emulator, connect):
        from airflow_gemini_batch.engine.errors import ApiKeyError, OutcomeUnknownError
        from airflow_gemini_batch.engine.subscriptions import Webhooks

        emulator.faults.add(HttpFault(do="drop", path="/webhooks", count=1))
        with pytest.raises(OutcomeUnknownError):
            GeminiHook().webhooks.list()

        with pytest.raises(ApiKeyError):
            Webhooks(Endpoint(api_key="invalid", base_url=emulator.url)).list()


def test_the_page_runs_and_names_every_field(connect: Callable[..., None]) -> None:
    assert run_snippets("webhooks.md") == 2

    page = (DOCS / "webhooks.md").read_text(encoding="utf-8")
    read = re.findall(r'_text\(extra, "(\w+)"\)', inspect.getsource(WebhookSettings.of_extra))
    assert set(read) <= set(re.findall(r"`(\w+)`", page))


def test_the_command_line(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["webhooks", *words, "--base-url", emulator.url])
        return code, *capsys.readouterr()

    page = (DOCS / "webhooks.md").read_text(encoding="utf-8")
    [create] = re.findall(r"^gemini-batch webhooks (.+)$", page, re.MULTILINE)
    code, secret, _ = run(*create.split())
    assert (code, secret.startswith("whsec_")) == (0, True)
    webhook_id = run("list")[1].split()[0]
    assert run("rotate", webhook_id)[1].startswith("whsec_")
    assert [run(action, webhook_id)[0] for action in ("ping", "enable", "delete")] == [0, 0, 0]
    code, out, err = run("ping", webhook_id)
    assert (code, out) == (1, "")
    assert "404" in err or "not found" in err.lower()
