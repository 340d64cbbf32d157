"""What was found: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.scenario import Figure, Goal


@dataclass(frozen=True)
class Finding:
    """One scenario that was run."""

    name: str
    promise: str
    seed: int
    seconds: float
    goals: list[Goal] = field(default_factory=list)
    notes: dict[str, Figure] = field(default_factory=dict)
    #: Why it was not run.
    skipped: str | None = None

    @property
    def passed(self) -> bool:
        """Say whether it looked at something, and all was as it should be."""
        return bool(self.goals) and all(goal.met for goal in self.goals)

    @property
    def verdict(self) -> str:
        if self.skipped is not None:
            return "skipped"
        return "kept" if self.passed else "missed"


def machine() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        # Above the number of cores someone else was at work too, and times are worse for it.
        "load": round(os.getloadavg()[0], 1),
    }


def as_json(findings: Sequence[Finding]) -> str:
    scenarios = [{**asdict(finding), "passed": finding.passed} for finding in findings]
    return json.dumps({"machine": machine(), "scenarios": scenarios}, ensure_ascii=False, indent=2)


def as_line(finding: Finding) -> str:
    """Return the figures of one run as one line, for the person watching."""
    missed = [
        f"{goal.name} {goal.figure} ({goal.wanted})" for goal in finding.goals if not goal.met
    ]
    told = [finding.skipped] if finding.skipped else [*missed, notes_of(finding)]
    head = f"{finding.name}, seed {finding.seed}, {finding.seconds:.0f} s: {finding.verdict}"
    return ": ".join([head, *filter(None, ["; ".join(filter(None, told))])])


def print_table(findings: Sequence[Finding]) -> None:
    table = Table(title=", ".join(f"{name} {value}" for name, value in machine().items()))
    for column in ("scenario", "promise", "figures"):
        table.add_column(column, overflow="fold")
    table.add_column("s", justify="right")
    for finding in findings:
        lines = [*map(_goal, finding.goals), _dim(finding.skipped or notes_of(finding))]
        table.add_row(
            f"{_MARKS[finding.verdict]} {finding.name}",
            finding.promise,
            "\n".join(filter(None, lines)),
            f"{finding.seconds:.0f}",
            end_section=True,
        )
    Console(width=None if sys.stdout.isatty() else 130).print(table)


_MARKS = {"kept": "[green]✓[/]", "missed": "[red]✗[/]", "skipped": "-"}


def _goal(goal: Goal) -> str:
    mark = _MARKS["kept" if goal.met else "missed"]
    return f"{mark} {goal.name}: {goal.figure} ({goal.wanted})"


def _dim(text: str) -> str:
    return f"[dim]{text}[/]" if text else ""


def notes_of(finding: Finding) -> str:
    return ", ".join(f"{name} {figure}" for name, figure in finding.notes.items())
