"""Texts about runs as Airflow's own notifiers send them: a mail arrives at an SMTP server."""

from __future__ import annotations

import email
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from airflow_gemini_batch.emulator import Emulator, RowFault

pytest.importorskip("airflow.providers.smtp.notifications.smtp")
pytestmark = pytest.mark.timeout(240)


class _Smtp(socketserver.StreamRequestHandler):
    """As much of SMTP as a client without TLS and login needs."""

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            match line.upper().split()[0]:
                case "DATA":
                    self._say("354 go on")
                    self.server.mails.append(self._mail())  # type: ignore[attr-defined]
                    self._say("250 taken")
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 yes")

    def _mail(self) -> EmailMessage:
        lines = iter(self.rfile.readline, b".\r\n")
        content = b"".join(line.removeprefix(b".") if line.startswith(b"..") else line for line in lines)
        mail = email.message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        return mail

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EmailMessage]]:
    """The mails that have arrived at the server of the connection ``smtp_default``."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp) as server:
        server.daemon_threads = True
        server.mails = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": server.server_address[1], "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        yield server.mails  # type: ignore[attr-defined]
        server.shutdown()


DAG_BODY = """
from airflow.providers.smtp.notifications.smtp import SmtpNotifier

GeminiBatchOperator(
    task_id="describe",
    source=SOURCE,
    request=GenerateRequest(prompt="Repeat: ${body}"),
    model=MODEL,
    destination=DESTINATION,
    key="id",
    options={"poll_interval": 0.2, "max_dead_letter_ratio": LIMIT, "prices": {MODEL: {"input": 1.0, "output": 2.0}}},
    retries=0,
    on_success_callback=SmtpNotifier(to="data@example.com", subject="Finished", html_content=summary_text("html")),
    on_failure_callback=SmtpNotifier(to="data@example.com", subject="Failed", html_content=failure_text("html")),
)
"""


def sent_by(run_dag: Callable[..., Any], mails: list[EmailMessage], **names: Any) -> tuple[str, str]:
    """Subject and body of the one mail of a run in which a row of twelve is blocked."""
    run_dag(DAG_BODY, **names)

    [mail] = mails
    body = mail.get_body(("html",))
    assert body is not None
    return str(mail["Subject"]), str(body.get_content())


def test_a_finished_run_is_mailed(
    run_dag: Callable[..., Any], source: str, tmp_path: Path, emulator: Emulator, mails: list[EmailMessage]
) -> None:
    emulator.faults.add(RowFault(do="safety", keys=("k3",)))

    subject, body = sent_by(run_dag, mails, SOURCE=source, DESTINATION=str(tmp_path / "run"), LIMIT=1.0)

    assert subject == "Finished"
    assert "11 of 12 rows have a result, dead letters: 1 (BLOCKED 1)" in body
    assert "gemini-3.6-flash · jobs: 1 · $" in body
    assert str(tmp_path / "run") in body
    assert "/dags/test_a_finished_run_is_mailed/runs/" in body


def test_a_failed_run_is_mailed_with_how_far_it_is(
    run_dag: Callable[..., Any], source: str, tmp_path: Path, emulator: Emulator, mails: list[EmailMessage]
) -> None:
    emulator.faults.add(RowFault(do="safety", keys=("k3",)))

    subject, body = sent_by(run_dag, mails, SOURCE=source, DESTINATION=str(tmp_path / "run"), LIMIT=0.0)

    assert subject == "Failed"
    assert "1 of 12 rows (8.3%) are dead letters, 0.0% allowed" in body
    assert "12 of 12 rows done · shards: 1 landed · dead letters: 1 (BLOCKED 1) · $" in body
    assert str(tmp_path / "run") in body
