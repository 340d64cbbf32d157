"""Runs scenarios one after the other and says whether every promise was kept.

Everything is on loopback: each scenario has a Redis, workers and a simulator of its own.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import traceback
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from tests.chaos.catalogue import SCENARIOS
from tests.chaos.report import Finding, as_json, print_table
from tests.chaos.scenario import Goal, Scene
from tests.conftest import scrub_environment

if TYPE_CHECKING:
    from tests.chaos.scenario import Scenario


def main(arguments: list[str]) -> int:
    """Run what is named, or all; returns the exit code: 1 if a goal was missed."""
    given = _parse(arguments)
    scrub_environment()
    chosen = [SCENARIOS[name] for name in given.scenarios or SCENARIOS]
    findings = []
    for scenario in chosen:
        for run in range(given.runs):
            print(f"{scenario.name}: {scenario.promise}", file=sys.stderr, flush=True)  # noqa: T201  # a program for the terminal
            findings.append(run_one(scenario, given, given.seed + run))
    if given.json:
        print(as_json(findings))  # noqa: T201  # likewise
    else:
        print_table(findings)
    return 0 if all(finding.passed for finding in findings) else 1


def run_one(scenario: Scenario, given: argparse.Namespace, seed: int) -> Finding:
    """Run a scenario to its end, or to what broke it."""
    started = time.monotonic()
    folder = Path(mkdtemp(prefix=f"visionq-chaos-{scenario.name}-"))
    scene = Scene(folder, seed, given.quick, given.scale, given.broker)
    try:
        scenario.run(scene)
    except Exception as error:  # noqa: BLE001  # whatever broke it is what it found
        traceback.print_exc()
        scene.goals.append(Goal("ran to its end", str(error), "yes", met=False))
    finding = Finding(scenario, scene, time.monotonic() - started)
    if finding.passed:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"{scenario.name}: logs are in {folder}", file=sys.stderr)  # noqa: T201  # likewise
    return finding


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="the sizes of `make test`")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--seed", type=int, default=1, help="whom to kill, and when")
    parser.add_argument("--runs", type=int, default=1, help="runs of each, with seeds in a row")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes")
    parser.add_argument("--broker", metavar="URL", help="another broker, as amqp://…; it is yours")
    given = parser.parse_args(arguments)
    if unknown := set(given.scenarios) - SCENARIOS.keys():
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there is: {', '.join(SCENARIOS)}")
    return given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
