"""Runs the parts that are named, or all of them, and prints tables in Markdown, or JSON."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
import time
from typing import TYPE_CHECKING, Final

from benchmarks.measuring import load, machine
from benchmarks.tables import GOAL_COLUMNS, Table, goals

if TYPE_CHECKING:
    from collections.abc import Callable

#: Part → the module that measures it, by its function `measure` or the one that is named.
PARTS: Final = {
    "images": "benchmarks.images",
    "formats": "benchmarks.formats",
    "advice": "benchmarks.advice",
    "pace": "benchmarks.pace",
    "full": "benchmarks.speed.throughput:full",
    "small": "benchmarks.speed.throughput:small",
    "overhead": "benchmarks.speed.throughput:overhead",
    "repeat": "benchmarks.speed.throughput:repeat",
    "cores": "benchmarks.speed.throughput:cores",
    "paced": "benchmarks.speed.paced",
    "start": "benchmarks.speed.starting",
    "trips": "benchmarks.speed.trips",
    "submit": "benchmarks.speed.submitting",
    "collect": "benchmarks.speed.collecting",
    "backlog": "benchmarks.speed.backlog",
    "quote": "benchmarks.quote",
    "bulk": "benchmarks.bulk",
    "scale": "benchmarks.scale",
    "gateway": "benchmarks.gateway",
}


def main(arguments: list[str]) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--quick", action="store_true", help="fewer cases, where a part has many")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there is: {', '.join(PARTS)}")
    about = {**machine(), "load before": load()}
    found: dict[str, list[Table]] = {}
    for name in given.parts or PARTS:
        started = time.monotonic()
        print(f"measuring {name} …", file=sys.stderr)  # noqa: T201  # a program for the terminal
        measure = _measure(PARTS[name])
        takes_quick = "quick" in inspect.signature(measure).parameters
        found[name] = measure(quick=True) if given.quick and takes_quick else measure()
        print(f"… {time.monotonic() - started:.0f} s", file=sys.stderr)  # noqa: T201  # likewise
    if reached := _goals(found):
        found["goals"] = [reached]
    about["load after"] = load()
    print(_as_json(about, found) if given.json else _as_markdown(about, found))  # noqa: T201  # likewise
    return 0


def _measure(part: str) -> Callable[..., list[Table]]:
    module, _, function = part.partition(":")
    measure: Callable[..., list[Table]] = getattr(
        importlib.import_module(module), function or "measure"
    )
    return measure


def _goals(found: dict[str, list[Table]]) -> Table | None:
    """Return the goals of all parts together."""
    tables = [table for tables in found.values() for table in tables]
    rows = [row for table in tables if table.columns == GOAL_COLUMNS for row in table.rows]
    return goals("All goals", rows) if rows else None


def _as_json(about: dict[str, str], found: dict[str, list[Table]]) -> str:
    parts = {name: [table.to_public() for table in tables] for name, tables in found.items()}
    return json.dumps({"machine": about, "parts": parts}, ensure_ascii=False, indent=2)


def _as_markdown(about: dict[str, str], found: dict[str, list[Table]]) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in about.items())]
    lines += [table.to_markdown() for tables in found.values() for table in tables]
    return "\n\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
