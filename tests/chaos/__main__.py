"""Runs scenarios and says whether every promise was kept.

Everything is on loopback: each scenario has a Redis, workers and a simulator of its own. Those that
are named run one after the other. All of them run three at a time, one of which is a busy one: most
of what the others do is wait.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final

from tests.chaos.catalogue import SCENARIOS
from tests.chaos.report import as_json, as_line, print_table
from tests.chaos.running import Order, run_one
from tests.conftest import scrub_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.report import Finding

#: Scenarios that run at a time, of those that keep the machine busy and of those that don't.
_AT_A_TIME: Final = {True: 1, False: 2}


def main(arguments: list[str]) -> int:
    """Run what is named, or all; returns the exit code: 1 if a goal was missed."""
    given = _parse(arguments)
    scrub_environment()
    chosen = given.scenarios or list(SCENARIOS)
    orders = [
        Order(name, given.seed + run, given.quick, given.scale, given.broker)
        for name in chosen
        for run in range(given.runs)
    ]
    findings = []
    for finding in map(run_one, orders) if given.scenarios else _side_by_side(orders):
        print(as_line(finding), file=sys.stderr, flush=True)  # noqa: T201  # a program for the terminal
        findings.append(finding)
    if given.json:
        print(as_json(findings))  # noqa: T201  # likewise
    else:
        print_table(findings)
    return 1 if any(finding.verdict == "missed" for finding in findings) else 0


def _side_by_side(orders: list[Order]) -> Iterator[Finding]:
    """Run several at a time, in processes of their own; yields them in their order."""
    with ExitStack() as stack:
        pools = {
            busy: stack.enter_context(ProcessPoolExecutor(count, get_context("spawn")))
            for busy, count in _AT_A_TIME.items()
        }
        begun: list[Future[Finding]] = [
            pools[SCENARIOS[order.name].busy].submit(run_one, order) for order in orders
        ]
        for future in begun:
            yield future.result()


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="the sizes of `make test`")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--seed", type=int, default=1, help="whom to kill, and when")
    parser.add_argument("--runs", type=int, default=1, help="runs of each, with seeds in a row")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes")
    parser.add_argument(
        "--broker",
        metavar="URL",
        help="another broker, as amqp://…, which is yours; `rabbitmq` starts one",
    )
    given = parser.parse_args(arguments)
    if unknown := set(given.scenarios) - SCENARIOS.keys():
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there is: {', '.join(SCENARIOS)}")
    return given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
