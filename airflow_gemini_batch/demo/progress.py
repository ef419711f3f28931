"""The demo's progress: one line for each step. A terminal redraws it in place; any other output gets one line for each change."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_MARKS = {"done": Text("✓", "green"), "failed": Text("✗", "red"), "waiting": Text("·", "dim")}


@dataclass
class Step:
    """One line of the display.

    :param state: ``waiting``, ``working``, ``done`` or ``failed``.
    :param text: the step's current status; every change of it is displayed.
    :param done, total: rows, 0 for a step that does not count any; only a terminal displays them.
    """

    name: str
    state: str
    text: str
    done: int
    total: int


class ProgressDisplay:
    """
    with ProgressDisplay(console) as display:
        display.update("Airflow", "working", "starting four processes")
        display.update("Airflow", "done", "running")
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._steps: dict[str, Step] = {}
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> ProgressDisplay:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def elapsed(self) -> float:
        """Seconds since the display was created."""
        return time.monotonic() - self._started

    def update(self, name: str, state: str, text: str = "", *, done: int = 0, total: int = 0) -> None:
        """Set the current status of a step. See ``Step`` for the arguments; a new name adds a step."""
        before = self._steps.get(name)
        self._steps[name] = step = Step(name, state, text, done, total)
        if self._live is None and (before is None or (before.state, before.text) != (state, text)):
            self._console.print(f"{self.elapsed:4.0f} s  {step.name}: {step.text or step.state}", highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1, 0, 0), expand=True)
        grid.add_column(width=1)
        grid.add_column(width=max(map(len, self._steps), default=0), style="bold")
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for step in list(self._steps.values()):
            count = f"{step.done:>5,} of {step.total:>5,} rows" if step.total else ""
            grid.add_row(_MARKS.get(step.state, self._spinner), step.name, Text("  ".join(filter(None, [count, step.text]))))
        grid.add_row("", "", Text(f"{self.elapsed:.0f} s", "dim"))
        return grid
