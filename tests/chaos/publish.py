"""Writes benchmarks/results/chaos.md from runs of `python -m tests.chaos … --json`.

.venv/bin/python -m tests.chaos.publish RUN.json…

Of a scenario that is in several files the last one counts, unless the seeds differ.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).parents[2] / "benchmarks/results/chaos.md"
_TABLE: Final = re.compile(r"(<!-- table: runs -->\n).*?(<!-- end -->)", re.DOTALL)
_HEAD: Final = "| scenario | promise | came out |\n|---|---|---|\n"


def page(text: str, runs: list[dict[str, Any]]) -> str:
    """Return the page with the table of these runs, each as `--json` prints it."""
    found = {
        (scenario["name"], scenario["seed"]): (scenario, run["machine"])
        for run in runs
        for scenario in run["scenarios"]
    }
    rows = "".join(_row(scenario, machine) for scenario, machine in found.values())
    return _TABLE.sub(lambda match: f"{match[1]}\n{_HEAD}{rows}\n{match[2]}", text)


def _row(scenario: dict[str, Any], machine: dict[str, Any]) -> str:
    skipped = scenario["skipped"]
    cells = (
        f"`{scenario['name']}`, seed {scenario['seed']}",
        scenario["promise"],
        f"not run: {skipped}" if skipped else _came_out(scenario, machine),
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def _came_out(scenario: dict[str, Any], machine: dict[str, Any]) -> str:
    goals = [
        f"{'' if goal['met'] else '**missed**: '}{goal['name']} {_number(goal['figure'])}"
        f" ({goal['wanted']})"
        for goal in scenario["goals"]
    ]
    notes = [f"{name} {_number(figure)}" for name, figure in scenario["notes"].items()]
    where = f"{scenario['seconds']:.0f} s on {machine['date']}, load {machine['load']}"
    return "; ".join([*goals, *notes, where])


def _number(figure: float | str) -> str:
    return f"{figure:,}" if isinstance(figure, int | float) else figure


if __name__ == "__main__":
    given = [json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:]]
    PAGE.write_text(page(PAGE.read_text("utf-8"), given), "utf-8")
