"""Run the named parts, or all but the long ones; print tables in Markdown or JSON."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.comparison import load, machine, progress
from benchmarks.peers.arena import FAILURES
from benchmarks.tables import GOAL_COLUMNS, Table, goals

if TYPE_CHECKING:
    from collections.abc import Callable

#: Part → the module that measures it, and the function if it is not `measure`.
PARTS: Final = {
    "images": "benchmarks.images",
    "formats": "benchmarks.formats",
    "fidelity": "benchmarks.fidelity",
    "neighbour": "benchmarks.neighbour",
    "advice": "benchmarks.advice",
    "full": "benchmarks.speed.throughput:full",
    "small": "benchmarks.speed.throughput:small",
    "overhead": "benchmarks.speed.throughput:overhead",
    "repeat": "benchmarks.speed.throughput:repeat",
    "cores": "benchmarks.speed.throughput:cores",
    "in-flight": "benchmarks.speed.in_flight",
    "paced": "benchmarks.speed.paced",
    "start": "benchmarks.speed.starting",
    "trips": "benchmarks.speed.trips",
    "submit": "benchmarks.speed.submitting",
    "collect": "benchmarks.speed.collecting",
    "backlog": "benchmarks.speed.backlog",
    "primary": "benchmarks.speed.primary",
    "quote": "benchmarks.quote",
    "forecast": "benchmarks.forecast",
    "bulk": "benchmarks.bulk",
    "levers": "benchmarks.levers",
    "namespaces": "benchmarks.namespaces.isolated_hosts",
    "scale": "benchmarks.scale.predictions",
    "gateway": "benchmarks.gateway",
    "rate-limit": "benchmarks.rate_limit.fleet_runs",
    "packing": "benchmarks.packing",
    "sizing": "benchmarks.sizing",
}
#: Take as long as all others together: run only by name or with `--long`.
LONG: Final = frozenset({"levers", "packing", "rate-limit"})


def main(arguments: list[str]) -> int:
    """Measure, print and return the exit code."""
    given = _parser().parse_args(arguments)
    if unknown := set(given.parts) - PARTS.keys():
        _parser().error(
            f"unknown part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}"
        )
    # Exit through the context managers, so that every child process is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    about = {**machine(), "run": uuid.uuid4().hex[:8], "load before": load()}
    found: dict[str, list[Table]] = {}
    wanted = given.parts or [part for part in PARTS if given.long or part not in LONG]
    # Keep this order: peak memory of pictures shows only in a process that has done nothing yet.
    for name in [part for part in PARTS if part in wanted]:
        found[name] = _measured(name, quick=given.quick)
        if given.save:
            _save(given.save, name, {**about, "load after": load()}, found[name])
    if reached := _goals(found):
        found["goals"] = [reached]
    about["load after"] = load()
    print(_as_json(about, found) if given.json else _as_markdown(about, found))  # noqa: T201  # a program for the terminal
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of tables"
    )
    parser.add_argument(
        "--quick", action="store_true", help="measure fewer cases where a part has many"
    )
    parser.add_argument("--long", action="store_true", help=f"include {', '.join(LONG)}")
    parser.add_argument(
        "--save", type=Path, metavar="FOLDER", help="write the JSON of each part as it finishes"
    )
    return parser


def _measured(name: str, *, quick: bool) -> list[Table]:
    """Measure a part; a failure becomes a table, so that the other parts still run."""
    started = time.monotonic()
    progress(f"measuring {name} …")
    measure = _measure(PARTS[name])
    takes_quick = "quick" in inspect.signature(measure).parameters
    try:
        tables = measure(quick=True) if quick and takes_quick else measure()
    except (*FAILURES, AssertionError) as error:
        reason = str(error) if isinstance(error, RuntimeError) else repr(error)
        progress(f"  {name} failed: {reason}")
        row = (f"{name}: the whole part failed", None, "", "not measured")
        tables = [goals(f"{name}: failed", [row], reason)]
    progress(f"… {name} took {time.monotonic() - started:.0f} s")
    return tables


def _measure(part: str) -> Callable[..., list[Table]]:
    module, _, function = part.partition(":")
    measure: Callable[..., list[Table]] = getattr(
        importlib.import_module(module), function or "measure"
    )
    return measure


def _goals(found: dict[str, list[Table]]) -> Table | None:
    """Return the goals of all parts in one table."""
    tables = [table for tables in found.values() for table in tables]
    rows = [row for table in tables if table.columns == GOAL_COLUMNS for row in table.rows]
    return goals("All goals", rows) if rows else None


def _save(folder: Path, name: str, about: dict[str, str], tables: list[Table]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(_as_json(about, {name: tables}), encoding="utf-8")


def _as_json(about: dict[str, str], found: dict[str, list[Table]]) -> str:
    parts = {name: [table.to_public() for table in tables] for name, tables in found.items()}
    return json.dumps({"machine": about, "parts": parts}, ensure_ascii=False, indent=2)


def _as_markdown(about: dict[str, str], found: dict[str, list[Table]]) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in about.items())]
    lines += [table.to_markdown() for tables in found.values() for table in tables]
    return "\n\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
