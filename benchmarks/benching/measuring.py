"""One measurement: a way of doing a work, in processes of its own that begin at the same time.

A process imports what it needs, says so, waits for the word, works, and prints what it took. So imports are not measured,
neither as time nor as memory.
"""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """
    :param seconds: from the word to the end of the last process.
    :param cpu: seconds, of all processes.
    :param megabytes: what the largest process held at its peak, above what it held after its imports.
    :param said: what the work returned, in the first process.
    """

    seconds: float
    cpu: float
    megabytes: float
    said: Any = None


def measured(module: str, way: str, folder: Path, arguments: Sequence[Any], *, processes: int = 1) -> Figures:
    """
    :param module: in ``benching``; ``way`` is its function, which takes the folder and ``arguments``, and for several
        processes the number of each and how many they are.
    """
    script = [sys.executable, str(Path(__file__).parent.parent / "bench.py"), "--measure"]
    started = []
    for number in range(processes):
        own = [*arguments, number, processes] if processes > 1 else list(arguments)
        started.append(
            subprocess.Popen(
                [*script, json.dumps([module, way, str(folder), own])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
    for process in started:
        if _from(process).readline() != "ready\n":
            raise RuntimeError(f"{module}.{way} did not begin")
    begin = time.perf_counter()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    found = [json.loads(_from(process).readline() or "null") for process in started]
    seconds = time.perf_counter() - begin
    for process in started:
        if process.wait() != 0:
            raise RuntimeError(f"{module}.{way} ended with exit code {process.returncode}")
    return Figures(seconds, sum(one["cpu"] for one in found), max(one["MB"] for one in found), found[0]["said"])


def _from(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return process.stdout


def measure(described: str) -> None:
    """In a process of its own: do the work once."""
    module, way, folder, arguments = json.loads(described)
    output, sys.stdout = sys.stdout, sys.stderr  # what a library prints is not the answer
    work = getattr(importlib.import_module(f"benching.{module}"), way)(Path(folder), *arguments)
    print("ready", file=output, flush=True)
    sys.stdin.readline()
    held, cpu = _memory("VmRSS"), time.process_time()
    said = work()
    said = said if isinstance(said, dict) else None
    found = {"cpu": time.process_time() - cpu, "MB": max(0.0, _memory("VmHWM") - held), "said": said}
    print(json.dumps(found), file=output, flush=True)


def _memory(name: str) -> float:
    """Megabytes, as Linux counts them: now (VmRSS) or at the peak (VmHWM). Elsewhere the peak, which a parent may have set."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1024
