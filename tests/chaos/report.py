"""What was found: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.chaos.scenario import Goal, Scenario, Scene


@dataclass(frozen=True)
class Finding:
    """One scenario that was run."""

    scenario: Scenario
    scene: Scene
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.scene.missed and bool(self.scene.goals)


def machine() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        # Above the number of cores somebody else was at work too, and times are worse for it.
        "load": round(os.getloadavg()[0], 1),
    }


def as_json(findings: list[Finding]) -> str:
    scenarios = [
        {
            "name": finding.scenario.name,
            "promise": finding.scenario.promise,
            "passed": finding.passed,
            "seed": finding.scene.seed,
            "seconds": round(finding.seconds, 1),
            "goals": [asdict(goal) for goal in finding.scene.goals],
            "notes": finding.scene.notes,
        }
        for finding in findings
    ]
    return json.dumps({"machine": machine(), "scenarios": scenarios}, ensure_ascii=False, indent=2)


def print_table(findings: list[Finding]) -> None:
    table = Table(title=", ".join(f"{name} {value}" for name, value in machine().items()))
    for column in ("scenario", "promise", "figures"):
        table.add_column(column, overflow="fold")
    table.add_column("s", justify="right")
    for finding in findings:
        lines = [*map(_goal, finding.scene.goals), _notes(finding.scene)]
        verdict = "[green]✓[/]" if finding.passed else "[red]✗[/]"
        table.add_row(
            f"{verdict} {finding.scenario.name}",
            finding.scenario.promise,
            "\n".join(filter(None, lines)),
            f"{finding.seconds:.0f}",
            end_section=True,
        )
    Console(width=None if sys.stdout.isatty() else 130).print(table)


def _goal(goal: Goal) -> str:
    mark = "[green]✓[/]" if goal.met else "[red]✗[/]"
    return f"{mark} {goal.name}: {goal.figure} ({goal.wanted})"


def _notes(scene: Scene) -> str:
    notes = ", ".join(f"{name} {figure}" for name, figure in scene.notes.items())
    return f"[dim]{notes}[/]" if notes else ""
