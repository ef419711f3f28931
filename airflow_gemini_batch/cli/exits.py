"""Exit codes of ``gemini-batch``, for scripts and CI to tell what happened without reading texts. docs/cli.md lists them."""

from __future__ import annotations

from enum import IntEnum

from airflow_gemini_batch.engine.errors import BudgetError, DeadLetterRatioError, GeminiBatchError, WaitTimeoutError


class Exit(IntEnum):
    """What a command ends with. Values are part of the public interface and do not change."""

    OK = 0
    ERROR = 1  #: one line on stderr says what failed
    USAGE = 2  #: argparse's own
    FAIL = 3  #: a comparison's verdict
    UNDECIDED = 4  #: a comparison's verdict
    UNFINISHED = 5
    DEAD_LETTERS = 6
    OVER_BUDGET = 7
    INTERRUPTED = 130  #: the shell's convention for SIGINT: 128 + 2


#: What each code says, for the help page and the docs.
ABOUT_EXITS = {
    Exit.OK: "Done. For `compare`: no margin was given, or the verdict is pass.",
    Exit.ERROR: "An error, in one line on stderr; or a command that failed for some of its names; or a check of `doctor` failed.",
    Exit.USAGE: "The arguments are wrong.",
    Exit.FAIL: "`compare`: the verdict is fail.",
    Exit.UNDECIDED: "`compare`: the verdict is undecided; more rows are needed.",
    Exit.UNFINISHED: "The run's `timeout` passed with jobs still running. `collect` finishes the run; so does the same `run`.",
    Exit.DEAD_LETTERS: "More dead letters than `max_dead_letter_ratio` allows. Both tables are complete.",
    Exit.OVER_BUDGET: "The run may cost more than `--max-cost-usd`, or has no known price. Nothing more was sent.",
    Exit.INTERRUPTED: "Ended by Ctrl-C. Jobs continue; a line on stderr says how to get their answers.",
}

_BY_ERROR: tuple[tuple[type[GeminiBatchError], Exit], ...] = (
    (WaitTimeoutError, Exit.UNFINISHED),
    (DeadLetterRatioError, Exit.DEAD_LETTERS),
    (BudgetError, Exit.OVER_BUDGET),
)


def exit_of(error: GeminiBatchError) -> Exit:
    """The exit code for an error of this package."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), Exit.ERROR)
