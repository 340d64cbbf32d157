"""Memory of the workers while calls wait for their answers, 128 and 1,000 at a time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.comparison import progress
from benchmarks.peers.arena import place
from benchmarks.peers.contenders import PROCESSES, VISIONQ
from benchmarks.peers.work import WARM
from benchmarks.speed.workloads import workload
from benchmarks.tables import Cells, Table, goal, goals

if TYPE_CHECKING:
    from benchmarks.peers.arena import Place

#: Calls at a time → most megabytes of all workers.
_GOALS: Final = {128: 200, 1000: 350}
#: Seconds for an answer, and for all calls to be out.
_LATENCY: Final = 100


def measure() -> list[Table]:
    """Return the memory of the workers at each number of calls, with the goals."""
    rows: list[Cells] = []
    reached: list[Cells] = []
    for calls, most in _GOALS.items():
        idle, used = _megabytes(calls)
        rows.append((float(calls), idle, used))
        name = f"in-flight: PSS MB of the workers, {calls:,} calls"
        reached.append(goal(name, used, most, at_least=False))
        progress(f"  in-flight: {calls}: {used:.0f} MB")
    title = "in-flight: 6 MP photos, every call waits for its answer"
    columns = ("calls at a time", "PSS MB before", "PSS MB")
    return [Table(title, columns, tuple(rows)), goals("in-flight: goals", reached)]


def _megabytes(calls: int) -> tuple[float, float]:
    """Return the PSS of warm workers, and with all calls out."""
    each = str(calls // PROCESSES)
    commands = tuple((*command[:-1], each) for command in VISIONQ.commands)
    contender = replace(VISIONQ, commands=commands)
    with workload("full", quick=True) as work, place(contender, "ours", 0) as here:
        here.feed([work.warming] * calls, WARM)
        here.wait_for(calls)
        idle = here.workers.proportional_bytes()
        here.simulator.configure(latency_s=_LATENCY)
        here.feed(work.paths(calls))
        _wait_until_out(here, 2 * calls)
        return idle / 1e6, here.workers.proportional_bytes() / 1e6


def _wait_until_out(here: Place, calls: int) -> None:
    """Wait for this many calls; the simulator counts them as they come in."""
    deadline = time.monotonic() + _LATENCY
    while (out := int(here.simulator.bill()["billed"])) < calls:
        here.workers.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{out} of {calls} calls came in {_LATENCY} s")
        time.sleep(0.2)
