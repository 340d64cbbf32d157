"""Round trips to Redis per job, from the claim to the commit.

One worker runs one thread; `MONITOR` lists every command and marks those made by scripts.
"""

from __future__ import annotations

import hashlib
import statistics
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from benchmarks.peers.arena import place
from benchmarks.peers.contenders import ONE_PROCESS
from benchmarks.speed.workloads import workload
from benchmarks.tables import Table, goal, goals
from visionq.ledger.scripts import script_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

#: The last word of a worker's command line is its number of threads.
_ONE_THREAD: Final = replace(ONE_PROCESS, commands=((*ONE_PROCESS.commands[0][:-1], "1"),))
_JOBS: Final = 100


def measure(*, quick: bool = False) -> list[Table]:
    """Return the round trips of a job, with the goal."""
    jobs = _JOBS // 4 if quick else _JOBS
    heard: list[dict[str, Any]] = []
    with (
        workload("overhead", quick=True) as work,
        place(_ONE_THREAD, "ours", 0) as here,
    ):
        here.feed(work.paths(2), 1_000_000)
        here.wait_for(2)
        stop = threading.Event()
        thread = threading.Thread(target=_listen, args=(here.redis, heard, stop))
        thread.start()
        here.feed(work.paths(jobs))
        here.wait_for(2 + jobs)
        stop.set()
        here.redis.ping()  # wakes the monitor, so that it sees `stop`
        thread.join()
    between, all_said = _trips(heard)
    trips = statistics.mean(between)
    row = (float(len(between)), trips, float(max(between)), all_said / jobs)
    columns = ("jobs", "claim to commit", "most", "all commands, submission included")
    reached = [goal("trips: to Redis, claim to commit", trips, 6, at_least=False)]
    return [Table("trips: to Redis, a job", columns, (row,)), goals("trips: goals", reached)]


def _listen(redis: Redis, heard: list[dict[str, Any]], stop: threading.Event) -> None:
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py's gap
        while not stop.is_set():
            heard.append(monitor.next_command())


def _trips(heard: Sequence[dict[str, Any]]) -> tuple[list[int], int]:
    """Return the commands from each claim to its commit, on the connection of the thread."""
    claim, finish = (_sha(name) for name in ("claim", "finish"))
    said = [one for one in heard if one["client_type"] != "lua"]
    out: dict[str, int] = {}
    between = []
    for one in said:
        who = f"{one['client_address']}:{one['client_port']}"
        if claim in one["command"]:
            out[who] = 0
        if who in out:
            out[who] += 1
            if finish in one["command"]:
                between.append(out.pop(who))
    return between, len(said)


def _sha(name: str) -> str:
    return hashlib.sha1(script_text(name).encode(), usedforsecurity=False).hexdigest()
