"""A growing backlog: Redis bytes per job, and the rates of submission and dispatch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.comparison import progress
from benchmarks.peers.arena import place
from benchmarks.peers.contenders import VISIONQ
from benchmarks.tables import Cells, Table, goal, goals
from visionq.ledger import Ledger, Registration

if TYPE_CHECKING:
    from redis import Redis

_ADDRESS: Final = "https://example.com/pictures/{:07}.jpg"
_STEPS: Final = (1_000, 10_000, 100_000, 1_000_000)
#: Jobs dispatched in each round.
_TAKEN: Final = 100
_ROUNDS: Final = 5


def measure(*, quick: bool = False) -> list[Table]:
    """Return a row for each size, with the goals."""
    rows: list[Cells] = []
    with place(VISIONQ, "ours", 0, idle=True) as here:
        empty, entered = _used(here.redis), 0
        for size in _STEPS[:3] if quick else _STEPS:
            paths = [_ADDRESS.format(number) for number in range(entered, size)]
            seconds = float(here.feed(paths, first=entered)["seconds"])
            rate, entered = len(paths) / seconds, size
            taken_by = (_used(here.redis) - empty) / size
            rows.append((float(size), taken_by, rate, _dispatch_rate(here.redis)))
            progress(f"  backlog: {size:,} jobs entered in {seconds:.0f} s")
    first, last = rows[0], rows[-1]
    rates = float(last[3] or 0) / float(first[3] or 1)
    reached = [
        goal("backlog: Redis bytes a queued job", float(last[1] or 0), 700, at_least=False),
        goal(f"backlog: dispatch at {size:,} of that at 1,000", rates, 0.9, at_least=True),
    ]
    columns = ("queued jobs", "Redis bytes a job", "submitted/s", "dispatched/s of Redis's time")
    return [Table("backlog", columns, tuple(rows)), goals("backlog: goals", reached)]


def _used(redis: Redis) -> int:
    memory: dict[str, int] = redis.info("memory")
    return memory["used_memory"]


def _dispatch_rate(redis: Redis) -> float:
    """Return jobs dispatched per second of Redis's time, in the best of a few rounds.

    Each round registers a worker, dispatches jobs to it and cancels them.
    """
    best = 0.0
    ledger = Ledger(redis)
    for number in range(_ROUNDS):
        worker = Registration(f"bench-{number}", slots=_TAKEN, queues=("visionq.bulk",))
        ledger.renew(worker)
        before = _in_scripts(redis)
        hints = ledger.dispatch(limit=_TAKEN).hints
        best = max(best, len(hints) / (_in_scripts(redis) - before))
        ledger.cancel([hint.id for hint in hints])
        ledger.renew(Registration(worker.worker, slots=0, queues=worker.queues))
    return best


def _in_scripts(redis: Redis) -> float:
    """Return the seconds that Redis has spent in scripts so far."""
    commands: dict[str, dict[str, float]] = redis.info("commandstats")
    return (
        sum(commands.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("eval", "evalsha"))
        / 1e6
    )
