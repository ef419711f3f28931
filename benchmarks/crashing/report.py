"""The figures, as people read them and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from crashing.audit import Findings
from crashing.journeys import Journey
from crashing.plan import Walk


@dataclass
class Tally:
    """Several journeys together."""

    runs: int = 0
    calls: int = 0
    faults: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    @property
    def crashes(self) -> int:
        return sum(self.kills.values())

    def add(self, journey: Journey) -> None:
        self.runs += 1
        self.calls += journey.calls
        self.faults += journey.faults
        self.kills.update(journey.kills)
        if journey.findings:
            self.findings.add(Findings(**journey.findings))


@dataclass
class Report:
    seed: int
    total: Tally = field(default_factory=Tally)
    scenarios: dict[str, Tally] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    bad: list[Journey] = field(default_factory=list)

    def add(self, journey: Journey) -> None:
        self.total.add(journey)
        self.scenarios.setdefault(journey.scenario, Tally()).add(journey)
        self.errors.update(journey.errors)
        if journey.stuck or Findings(**journey.findings).wrong:
            self.bad.append(journey)

    @property
    def is_good(self) -> bool:
        return not self.bad and self.total.findings.most_jobs <= 1

    def as_json(self, walks: dict[str, Walk], seconds: float) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "seconds": round(seconds, 1),
            "good": self.is_good,
            "boundaries": {name: {"met": len(walk.met), "hit": len(walk.hit)} for name, walk in walks.items()},
            "never_died_at": {name: sorted(walk.met - walk.hit) for name, walk in walks.items()},
            "total": _plain(self.total),
            "scenarios": {name: _plain(tally) for name, tally in sorted(self.scenarios.items())},
            "errors": dict(self.errors.most_common()),
            "bad": [asdict(journey) for journey in self.bad],
        }

    def as_text(self, walks: dict[str, Walk], seconds: float) -> str:
        found = self.total.findings
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.total.kills.most_common())
        lines = [
            f"{'scenario':<18}{'runs':>6}{'calls':>7}{'crashes':>9}{'faults':>8}{'rows':>11}{'jobs':>6}{'dead':>7}{'wrong':>7}",
            *(_row(name, tally) for name, tally in self.scenarios.items()),
            "",
            f"crashes              {self.total.crashes:,}  ({kinds})",
            *(f"boundaries           {name}: {len(walk.met)} met, died at {len(walk.hit)}" for name, walk in walks.items()),
            f"faults at the service {self.total.faults:,}",
            f"runs                 {self.total.runs:,}, in {self.total.calls:,} calls",
            f"jobs created         {found.jobs:,}",
            f"most jobs of a shard and attempt  {found.most_jobs}",
            f"rows in              {found.rows:,}",
            f"results              {found.results:,}",
            f"dead letters         {found.dead_letter:,}",
            f"lost                 {found.lost}",
            f"doubled              {found.doubled}",
            f"misjoined            {found.misjoined}",
            f"foreign              {found.foreign}",
            f"duplicate jobs       {found.duplicates}",
            f"untrue summaries     {found.unbalanced}",
            f"runs that never end  {sum(bool(journey.stuck) for journey in self.bad)}",
            f"seconds              {seconds:.0f}  (seed {self.seed})",
        ]
        for name, walk in walks.items():
            lines += [f"never died at        {name}: {boundary}" for boundary in sorted(walk.met - walk.hit)[:10]]
        for journey in self.bad[:20]:
            lines.append(
                f"BAD  {journey.scenario} seed {journey.seed}: {journey.stuck or journey.findings}  kept in {journey.kept}"
            )
        return "\n".join(lines)


def _row(name: str, tally: Tally) -> str:
    found = tally.findings
    return (
        f"{name:<18}{tally.runs:>6}{tally.calls:>7}{tally.crashes:>9}{tally.faults:>8}"
        f"{found.rows:>11,}{found.jobs:>6}{found.dead_letter:>7,}{found.wrong:>7}"
    )


def _plain(tally: Tally) -> dict[str, Any]:
    return {
        "runs": tally.runs,
        "calls": tally.calls,
        "crashes": tally.crashes,
        "kills": dict(tally.kills),
        "faults": tally.faults,
        **asdict(tally.findings),
    }
