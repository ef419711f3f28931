"""The figures, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from crashing.audit import Findings
from crashing.plan import Sweep
from crashing.runner import Outcome
from crashing.scenarios import BY_NAME


@dataclass
class Tally:
    """The sums over several runs.

    :param aimed: kills at the boundaries that the scenario aims at.
    """

    runs: int = 0
    calls: int = 0
    faults: int = 0
    aimed: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    @property
    def crashes(self) -> int:
        return sum(self.kills.values())

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.calls += outcome.calls
        self.faults += outcome.faults
        self.kills.update(outcome.kills)
        if aim := BY_NAME[outcome.scenario].aim:
            self.aimed += sum(aim in boundary for boundary in outcome.killed_at)
        if outcome.findings:
            self.findings.add(Findings(**outcome.findings))


@dataclass
class Report:
    seed: int
    total: Tally = field(default_factory=Tally)
    scenarios: dict[str, Tally] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.total.add(outcome)
        self.scenarios.setdefault(outcome.scenario, Tally()).add(outcome)
        self.errors.update(outcome.errors)
        if outcome.not_finished or Findings(**outcome.findings).errors:
            self.failed.append(outcome)

    @property
    def passed(self) -> bool:
        return not self.failed and self.total.findings.most_jobs <= 1

    def as_json(self, sweeps: dict[str, Sweep], seconds: float) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "seconds": round(seconds, 1),
            "passed": self.passed,
            "boundaries": {
                name: {"reached": len(sweep.reached), "killed_at": len(sweep.killed_at)} for name, sweep in sweeps.items()
            },
            "never_killed_at": {name: sorted(sweep.reached - sweep.killed_at) for name, sweep in sweeps.items()},
            "total": _tally_json(self.total),
            "scenarios": {name: _tally_json(tally) for name, tally in sorted(self.scenarios.items())},
            "errors": dict(self.errors.most_common()),
            "failed": [asdict(outcome) for outcome in self.failed],
        }

    def as_text(self, sweeps: dict[str, Sweep], seconds: float) -> str:
        found = self.total.findings
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.total.kills.most_common())
        lines = [
            f"{'scenario':<20}{'runs':>6}{'calls':>7}{'crashes':>9}{'faults':>8}{'rows':>11}{'jobs':>6}{'dead':>7}{'paid':>8}{'errors':>8}",
            *(_row(name, tally) for name, tally in self.scenarios.items()),
            "",
            f"crashes              {self.total.crashes:,}: {kinds}",
            *(
                f"boundaries           {name}: {len(sweep.reached)} reached, killed at {len(sweep.killed_at)}"
                for name, sweep in sweeps.items()
            ),
            *(
                f"{'aimed at':<21}{name}: {tally.aimed} crashes at boundaries named …{BY_NAME[name].aim}…"
                for name, tally in self.scenarios.items()
                if BY_NAME[name].aim
            ),
            f"service faults       {self.total.faults:,}",
            f"runs                 {self.total.runs:,} in {self.total.calls:,} calls",
            f"jobs created         {found.jobs:,}",
            f"most jobs per shard and attempt: {found.most_jobs}",
            f"rows in              {found.rows:,}",
            f"results              {found.results:,}",
            f"dead letters         {found.dead_letter:,}",
            f"copies               {found.copies:,}: rows that share another row's request",
            f"reused               {found.reused:,}: rows that an earlier run has answered",
            f"requests paid per distinct fingerprint: {_ratio(found)} ({found.paid:,} of {found.requests:,}; "
            f"{found.paid_again:,} more in later attempts)",
            f"lost                 {found.lost}",
            f"duplicated           {found.duplicated}",
            f"mismatched           {found.mismatched}",
            f"unknown keys         {found.unknown_keys}",
            f"duplicate jobs       {found.duplicate_jobs}",
            f"wrong summaries      {found.wrong_summaries}",
            f"wrongly paid         {found.wrongly_paid}",
            f"wrong copies         {found.wrong_copies}",
            f"wrong reuse          {found.wrong_reuse}",
            f"never-ending runs    {sum(bool(outcome.not_finished) for outcome in self.failed)}",
            f"seconds              {seconds:.0f} (seed {self.seed})",
        ]
        for name, sweep in sweeps.items():
            if not sweep.is_done:  # a short run; most boundaries are left
                continue
            lines += [f"never killed at      {name}: {boundary}" for boundary in sorted(sweep.reached - sweep.killed_at)[:10]]
        for outcome in self.failed[:20]:
            problem = outcome.not_finished or outcome.findings
            lines.append(f"FAILED  {outcome.scenario} seed {outcome.seed}: {problem}  kept in {outcome.kept}")
        return "\n".join(lines)


def _row(name: str, tally: Tally) -> str:
    found = tally.findings
    return (
        f"{name:<20}{tally.runs:>6}{tally.calls:>7}{tally.crashes:>9}{tally.faults:>8}"
        f"{found.rows:>11,}{found.jobs:>6}{found.dead_letter:>7,}{_ratio(found):>8}{found.errors:>8}"
    )


def _ratio(found: Findings) -> str:
    """Requests paid, first attempts only, for each that was to be paid; a dash where the service does not say how many it got."""
    return f"{found.paid / found.requests:.3f}" if found.requests else "-"


def _tally_json(tally: Tally) -> dict[str, Any]:
    return {
        "runs": tally.runs,
        "calls": tally.calls,
        "crashes": tally.crashes,
        "kills": dict(tally.kills),
        "faults": tally.faults,
        "aimed": tally.aimed,
        **asdict(tally.findings),
    }
