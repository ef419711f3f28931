"""Kill the engine and the operators a thousand times, and count what was paid for and what arrived.

    python benchmarks/crash.py --crashes 1000

The exit code is 0 only when every shard and attempt had one job at most, and every row of every table came out exactly once,
with its own answer. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing.connection
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crashing.lanes import Lane
    from crashing.plan import Plan
    from crashing.report import Report

#: The repository, for who has not installed the package.
sys.path.insert(1, str(Path(__file__).resolve().parent.parent))


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    # In memory where that is to be had: a killed process loses nothing that it has written, so no disk is needed to be fair.
    place = arguments.home or next((folder for folder in (Path("/dev/shm"),) if os.access(folder, os.W_OK)), None)  # noqa: S108
    home = Path(tempfile.mkdtemp(prefix="gemini-batch-crash-", dir=place))
    _isolate(home)
    # Only now: Airflow reads its settings when it is imported. All of it is imported here once, and forked from.
    from crashing.haste import warm_up
    from crashing.lanes import Lane, Settings
    from crashing.plan import Plan
    from crashing.report import Report
    from crashing.scenarios import BY_NAME, SCENARIOS
    from crashing.work import Waits

    scenarios = [BY_NAME[name] for name in arguments.scenario] if arguments.scenario else list(SCENARIOS)
    if arguments.url is not None:  # nothing is done to a service that somebody else runs
        scenarios = [scenario for scenario in scenarios if not scenario.kills_service]
    waits = Waits(arguments.timeout, arguments.lease, arguments.settle)
    settings = Settings(
        home, waits, arguments.url, os.environ.get("GEMINI_API_KEY", "any"), arguments.model, arguments.large, arguments.sabotage
    )
    rows = arguments.rows if BY_NAME["large"] in scenarios else 0
    plan = Plan(scenarios, seed=arguments.seed, crashes=arguments.crashes, rows=rows, large=arguments.large)
    report = Report(arguments.seed)
    warm_up(plain_http=not (arguments.url or "").startswith("https"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    lanes = [Lane(number, settings) for number in range(arguments.lanes)]
    try:
        _drive(plan, report, lanes, began, arguments)
    except KeyboardInterrupt:
        print("Interrupted; this is what has been made so far.", file=sys.stderr)
    finally:
        for lane in lanes:
            lane.close()
    seconds = time.monotonic() - began
    print(report.as_text(plan.walks, seconds))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report.as_json(plan.walks, seconds), indent=1))
    if report.is_good:
        shutil.rmtree(home, ignore_errors=True)
    return 0 if report.is_good and plan.is_done else 1


def _drive(plan: Plan, report: Report, lanes: list[Lane], began: float, arguments: argparse.Namespace) -> None:
    told = 0.0
    while not plan.is_done and time.monotonic() - began < arguments.minutes * 60:
        for lane in lanes:
            if lane.order is None and (order := plan.next()) is not None:
                lane.give(order)
        busy = [lane for lane in lanes if lane.order is not None]
        ready = multiprocessing.connection.wait([lane.connection for lane in busy], timeout=1.0)
        for lane in busy:
            if lane.connection in ready:
                order = lane.order
                assert order is not None
                journey = lane.take()
                plan.note(order, journey)
                report.add(journey)
        if time.monotonic() - told > arguments.tell_every and not arguments.quiet:
            told = time.monotonic()
            found = report.total.findings
            print(
                f"{told - began:5.0f} s  {plan.made_crashes:,} of {arguments.crashes:,} crashes, {report.total.runs} runs, "
                f"{found.rows:,} rows, {found.jobs} jobs, {len(report.bad)} bad",
                file=sys.stderr,
                flush=True,
            )


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crashes", type=int, default=1000, help="at least so many (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="at least so many in all (default: %(default)s)")
    parser.add_argument("--large", type=int, default=60_000, help="rows of a larger table (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides what is drawn; the clock decides the rest")
    parser.add_argument("--scenario", action="append", help="only this one; may be repeated")
    parser.add_argument("--lanes", type=int, default=10, help="runs side by side (default: %(default)s; most of it is waiting)")
    parser.add_argument("--minutes", type=float, default=20.0, help="give up after so many (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--url", help="another implementation of the service; GEMINI_API_KEY holds its key")
    parser.add_argument("--model", default="gemini-3.6-flash", help="for --url")
    parser.add_argument("--timeout", type=float, default=1.2, help="seconds of one request; below --lease")
    parser.add_argument("--lease", type=float, default=3.0, help="seconds that a claim is held")
    parser.add_argument("--settle", type=float, default=1.5, help="seconds after which a listing shows every job")
    parser.add_argument("--sabotage", action="store_true", help="take the looking before a create away: the harness must notice")
    parser.add_argument("--home", type=Path, help="where the runs are made (default: in memory)")
    parser.add_argument("--tell-every", type=float, default=10.0, help="seconds between two lines of progress")
    parser.add_argument("--quiet", action="store_true", help="only the figures at the end")
    return parser.parse_args(argv)


def _isolate(home: Path) -> None:
    """An Airflow home of its own, and none of the user's settings, keys or proxies."""
    for name in list(os.environ):
        if name.startswith(("AIRFLOW_", "GOOGLE_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["AIRFLOW_HOME"] = str(home / "airflow")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


if __name__ == "__main__":
    sys.exit(main())
