"""Runs the parts that are named, or all of them, and prints tables in Markdown, or JSON."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from typing import TYPE_CHECKING, Final, Protocol

from benchmarks.measuring import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.tables import Table

#: Part → the module that measures it: a function `measure` that returns tables.
PARTS: Final = {
    "images": "benchmarks.images",
    "formats": "benchmarks.formats",
    "advice": "benchmarks.advice",
    "bulk": "benchmarks.bulk",
    "pace": "benchmarks.pace",
}


class _Part(Protocol):
    measure: Callable[..., list[Table]]


def main(arguments: list[str]) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--quick", action="store_true", help="fewer cases, where a part has many")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there is: {', '.join(PARTS)}")
    found: dict[str, list[Table]] = {}
    for name in given.parts or PARTS:
        print(f"measuring {name} …", file=sys.stderr)  # noqa: T201  # a program for the terminal
        part: _Part = importlib.import_module(PARTS[name])
        takes_quick = "quick" in inspect.signature(part.measure).parameters
        found[name] = part.measure(quick=True) if given.quick and takes_quick else part.measure()
    print(_as_json(found) if given.json else _as_markdown(found))  # noqa: T201  # likewise
    return 0


def _as_json(found: dict[str, list[Table]]) -> str:
    parts = {name: [table.to_public() for table in tables] for name, tables in found.items()}
    return json.dumps({"machine": machine(), "parts": parts}, ensure_ascii=False, indent=2)


def _as_markdown(found: dict[str, list[Table]]) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in machine().items())]
    lines += [table.to_markdown() for tables in found.values() for table in tables]
    return "\n\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
