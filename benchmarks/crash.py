"""Kill the engine and the operators a thousand times, then count the jobs that were paid for and the rows that arrived.

    python benchmarks/crash.py --crashes 1000

The exit code is 0 only if every shard and attempt had at most one job, and every row of every table came out exactly once, with
its own answer. See benchmarks/README.md.
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
    from crashing.plan import Plan
    from crashing.report import Report
    from crashing.runner_processes import RunnerProcess

#: The root of the repository, so that the package need not be installed.
sys.path.insert(1, str(Path(__file__).resolve().parent.parent))


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    # In memory if possible, which is faster. What a killed process has written is not lost there either.
    parent = arguments.home or next((folder for folder in (Path("/dev/shm"),) if os.access(folder, os.W_OK)), None)  # noqa: S108
    home = Path(tempfile.mkdtemp(prefix="gemini-batch-crash-", dir=parent))
    _isolate(home)
    # Imported only now, because Airflow reads its settings when it is imported. It is imported once; children are forked.
    from crashing.calls import Waits
    from crashing.plan import Plan
    from crashing.report import Report
    from crashing.runner_processes import RunnerProcess, Settings
    from crashing.scenarios import BY_NAME, SCENARIOS
    from crashing.short_waits import warm_up

    scenarios = [BY_NAME[name] for name in arguments.scenario] if arguments.scenario else list(SCENARIOS)
    if arguments.url is not None:  # an external service is not killed
        scenarios = [scenario for scenario in scenarios if not scenario.kills_service]
    waits = Waits(arguments.timeout, arguments.lease, arguments.listing_lag)
    settings = Settings(
        home, waits, arguments.url, os.environ.get("GEMINI_API_KEY", "any"), arguments.model, arguments.large, arguments.sabotage
    )
    rows = arguments.rows if BY_NAME["large"] in scenarios else 0
    plan = Plan(scenarios, seed=arguments.seed, crashes=arguments.crashes, rows=rows, large=arguments.large)
    report = Report(arguments.seed)
    warm_up(plain_http=not (arguments.url or "").startswith("https"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    runners = [RunnerProcess(number, settings) for number in range(arguments.parallel)]
    try:
        _drive(plan, report, runners, started, arguments)
    except KeyboardInterrupt:
        print("Interrupted. The report covers the runs that have ended.", file=sys.stderr)
    finally:
        for runner in runners:
            runner.close()
    seconds = time.monotonic() - started
    print(report.as_text(plan.sweeps, seconds))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report.as_json(plan.sweeps, seconds), indent=1))
    if report.passed:
        shutil.rmtree(home, ignore_errors=True)
    return 0 if report.passed and plan.is_done else 1


def _drive(plan: Plan, report: Report, runners: list[RunnerProcess], started: float, arguments: argparse.Namespace) -> None:
    printed_at = 0.0
    while not plan.is_done and time.monotonic() - started < arguments.minutes * 60:
        for runner in runners:
            if runner.order is None and (order := plan.next()) is not None:
                runner.submit(order)
        busy = [runner for runner in runners if runner.order is not None]
        ready = multiprocessing.connection.wait([runner.connection for runner in busy], timeout=1.0)
        for runner in busy:
            if runner.connection in ready:
                order = runner.order
                assert order is not None
                outcome = runner.receive()
                plan.record(order, outcome)
                report.add(outcome)
        if time.monotonic() - printed_at > arguments.progress_every and not arguments.quiet:
            printed_at = time.monotonic()
            found = report.total.findings
            print(
                f"{printed_at - started:5.0f} s  {plan.crashes_made:,} of {arguments.crashes:,} crashes, "
                f"{report.total.runs} runs, {found.rows:,} rows, {found.jobs} jobs, {len(report.failed)} failed",
                file=sys.stderr,
                flush=True,
            )


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crashes", type=int, default=1000, help="crashes to make at least (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to send at least, in all (default: %(default)s)")
    parser.add_argument("--large", type=int, default=60_000, help="rows of a larger table (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices; the rest depends on timing")
    parser.add_argument("--scenario", action="append", help="only this scenario; may be repeated")
    parser.add_argument("--parallel", type=int, default=10, help="runs at the same time (default: %(default)s; they mostly wait)")
    parser.add_argument("--minutes", type=float, default=20.0, help="give up after so many minutes (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--url", help="an external service instead of the emulator; its key is read from GEMINI_API_KEY")
    parser.add_argument("--model", default="gemini-3.6-flash", help="the model to ask for, with --url")
    parser.add_argument(
        "--timeout", type=float, default=1.2, help="seconds for one request; below --lease (default: %(default)s)"
    )
    parser.add_argument("--lease", type=float, default=3.0, help="seconds that a claim is held (default: %(default)s)")
    parser.add_argument(
        "--listing-lag", type=float, default=1.5, help="seconds until a listing shows every job (default: %(default)s)"
    )
    parser.add_argument(
        "--sabotage",
        nargs="?",
        const="search",
        default="",
        choices=["search", "dedupe", "reuse"],
        help="search: do not look for a job before a create; dedupe: do not see that rows are equal; reuse: find no "
        "earlier answers. The harness must find what "
        "is paid for twice",
    )
    parser.add_argument("--home", type=Path, help="folder for the runs (default: in memory)")
    parser.add_argument(
        "--progress-every", type=float, default=10.0, help="seconds between two lines of progress (default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="print only the report")
    return parser.parse_args(argv)


def _isolate(home: Path) -> None:
    """Use a new Airflow home, and none of the user's settings, keys or proxies."""
    for name in list(os.environ):
        if name.startswith(("AIRFLOW_", "GOOGLE_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["AIRFLOW_HOME"] = str(home / "airflow")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


if __name__ == "__main__":
    sys.exit(main())
