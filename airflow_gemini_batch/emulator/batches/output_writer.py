"""Writes the outputs of jobs in a thread, so that no API call waits for them."""

from __future__ import annotations

import hashlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Mapping

from airflow_gemini_batch.emulator.batches.input_file import read_rows
from airflow_gemini_batch.emulator.batches.job_store import JobStore
from airflow_gemini_batch.emulator.batches.jobs import Job, rows_to_write
from airflow_gemini_batch.emulator.batches.line_format import LineFormat
from airflow_gemini_batch.emulator.batches.output_rows import RowAnswerer
from airflow_gemini_batch.emulator.batches.row_faults import RowCounts, apply_row_faults
from airflow_gemini_batch.emulator.clock import SECOND
from airflow_gemini_batch.emulator.models.references import References
from airflow_gemini_batch.emulator.service import Service

_log = logging.getLogger(__name__)

#: Lines are collected up to this many bytes before they are hashed and written.
_BLOCK = 1 << 20


class OutputWriter:
    """One thread that writes one job's output at a time, oldest first.

    An output is complete or absent. After a kill, an unfinished output is written again at the next start.
    """

    def __init__(self, service: Service, references: References, jobs: JobStore, formats: Mapping[str, LineFormat]) -> None:
        self._service = service
        self._references = references
        self._jobs = jobs
        self._formats = formats
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._waiting = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="emulator-output-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()
        for job in self._jobs.unwritten():
            self.put(job)

    def stop(self) -> None:
        self._stopping = True
        self._queue.put(None)
        self._thread.join()

    def put(self, job: Job) -> None:
        """Queues the output of `job` for writing."""
        with self._changed:
            self._waiting += 1
        self._queue.put(job.id)

    def wait_idle(self, timeout: float) -> bool:
        """Waits until every queued output is written. False if that takes longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting == 0, timeout)

    def _work(self) -> None:
        while (job_id := self._queue.get()) is not None and not self._stopping:
            try:
                job = self._jobs.by_id(job_id)
                if job is not None and not job.deleted and job.settled_ns is None:
                    self._write(job)
            except Exception:
                # An error in one job must not stop the others. The job fails, as it would at the service.
                self._fail_job(job_id)
            finally:
                with self._changed:
                    self._waiting -= 1
                    self._changed.notify_all()

    def _fail_job(self, job_id: str) -> None:
        job = self._jobs.by_id(job_id)
        if job is None or job.deleted or job.settled_ns is not None:
            return  # deleted or cancelled meanwhile, so its input is gone: not an error
        _log.exception("The output of batches/%s could not be written, so the job fails.", job_id)
        self._jobs.fail(job)

    def _write(self, job: Job) -> None:
        source = self._service.store.content(f"{job.id}.in")
        draft = self._service.store.content(f"{job.id}.draft")
        answerer = RowAnswerer(job, self._references, self._service.clock.now(), self._service.own_answer)
        most = rows_to_write(job)
        other = self._formats.get(job.kind)
        counts = RowCounts()
        digest = hashlib.sha256()
        yield_at = time.monotonic()
        with source.open("rb") as lines, draft.open("wb") as output:
            answers = itertools.starmap(answerer.answer, enumerate(itertools.islice(read_rows(lines), most)))
            block = bytearray()
            for line in apply_row_faults(answers, self._jobs.row_faults(job), counts, inline=job.inline):
                block += line if other is None else other.output_line(line, job.created_ns // SECOND)
                if len(block) < _BLOCK:
                    continue
                if self._stopping:
                    return
                digest.update(block)
                output.write(block)
                block.clear()
                if time.monotonic() > yield_at:
                    # Yields to the event loop. A computing thread would otherwise block it for whole switch intervals.
                    time.sleep(0.001)
                    yield_at = time.monotonic() + 0.02
            digest.update(block)
            output.write(block)
        draft.replace(self._service.store.content(f"{job.id}.out"))
        self._jobs.record_output(job, counts.answered, counts.failed, digest.hexdigest())
