"""A fleet to break: workers that are replaced, a Redis that is killed, books that are compared."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.verdict import Verdict, judge
from tests.support.fleet import Fleet, jobs
from tests.support.waiting import until
from tests.support.warm_processes import running_simulator
from visionq import names
from visionq.devstack.redis_server import running_redis
from visionq.errors import QueueUnavailable
from visionq.redis_connection import TRANSIENT_ERRORS, connect
from visionq.sdk import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.support.fleet import WorkerProcess

#: Jobs that are submitted at once.
_PORTION: Final = 250
_ENDS: Final = ("completed", "failed", "cancelled")


@dataclass
class ChaosFleet(Fleet):
    random: Random = field(default_factory=Random)
    submitted: list[str] = field(default_factory=list)
    #: Portions that were refused with `queue_unavailable` and submitted again.
    refusals: int = 0
    #: Options of `odd_worker` that every worker of the fleet is started with.
    oddities: tuple[str, ...] = ()

    def submit(self, count: int, **options: Any) -> list[str]:
        """Submit jobs, each with a picture of its own, until the ledger has them all."""
        first = len(self.submitted)
        return self.submit_these(jobs(count, first, **options))

    def submit_these(self, documents: Iterable[dict[str, Any]]) -> list[str]:
        """Submit as a careful program does: under keys, and again after `queue_unavailable`."""
        first = len(self.submitted)
        keyed = [
            {"idempotency_key": f"{first + number}", **document}
            for number, document in enumerate(documents)
        ]
        for start in range(0, len(keyed), _PORTION):
            self.submitted += self._enter(keyed[start : start + _PORTION])
        return self.submitted[first:]

    def _enter(self, portion: list[dict[str, Any]]) -> list[str]:
        while True:
            try:
                return [job.id for job in self.client.submit_many(portion)]
            except QueueUnavailable:
                self.refusals += 1
                time.sleep(0.5)

    def add_odd_worker(self, *oddities: str) -> WorkerProcess:
        """Start a worker that is not quite like this release; see `odd_worker`."""
        worker = self._start_worker(
            len(self.workers) + 100, ("-m", "tests.chaos.odd_worker", *oddities)
        )
        self.workers.append(worker)
        return worker

    def replace(self, worker: WorkerProcess) -> None:
        """Start one worker in place of another, as a supervisor would."""
        self.workers.remove(worker)
        self._ended = [*getattr(self, "_ended", []), worker]
        number = len(self._ended) + len(self.workers)
        if self.oddities:
            odd = ("-m", "tests.chaos.odd_worker", *self.oddities)
            self.workers.append(self._start_worker(number, odd))
        else:
            self.workers.append(self._start_worker(number))

    def replace_ended(self) -> int:
        """Replace the workers that ended by themselves; returns how many did."""
        ended = [worker for worker in self.workers if worker.poll() is not None]
        for worker in ended:
            self.replace(worker)
        return len(ended)

    def states(self) -> dict[str, int]:
        """Return how many jobs are in each state, empty while Redis is away."""
        try:
            return self.counts()
        except TRANSIENT_ERRORS:
            return {}

    def ended(self) -> int:
        """Return how many jobs came to an end: these, and those whose billing is unknown."""
        states = self.states()
        return sum(states.get(state, 0) for state in _ENDS)

    def settled_down(self) -> bool:
        """Say whether every job has ended or is parked, and no call is out."""
        states = self.states()
        return (
            sum(states.values())
            == sum(states.get(state, 0) for state in (*_ENDS, "parked"))
            >= len(self.submitted)
        )

    def calls_out(self, pid: int | None = None) -> int:
        """Return how many calls the ledger knows to be out, of one worker or of all."""
        redis: Any = self.redis
        with redis.pipeline(transaction=False) as pipeline:
            for job_id in redis.zrange(names.DUE, 0, -1):
                pipeline.hmget(names.JOB + job_id.decode(), "sent", "worker")
            found = pipeline.execute()
        return sum(
            bool(sent) and (pid is None or f":{pid}:" in (worker or b"").decode())
            for sent, worker in found
        )

    def pids_at_work(self) -> set[int]:
        return {int(worker.decode().split(":")[1]) for worker in self.registered()}

    def wait_until_settled(
        self, seconds: float, during: Callable[[], object] | None = None
    ) -> float:
        """Wait until every job has come to an end; returns the seconds that it took."""
        started = time.monotonic()

        def settled() -> bool:
            if during is not None:
                during()
            return self.settled_down()

        until(settled, seconds, lambda: f"{len(self.submitted)} jobs to end: {self.states()}")
        return time.monotonic() - started

    def judge(self) -> Verdict:
        return judge(self.redis, self.submitted, self.simulator.bill())

    def commands_a_second(self, seconds: float) -> float:
        """Return how many commands Redis is sent; those that its scripts give are not sent."""
        sent, end = 0, time.monotonic() + seconds
        redis: Any = self.redis
        with redis.monitor() as monitor:
            for command in monitor.listen():
                if time.monotonic() >= end:
                    break
                sent += command["client_type"] != "lua"
        return sent / seconds


@contextmanager
def chaos_fleet(
    folder: Path,
    random: Random,
    *,
    workers: int,
    concurrency: int = 16,
    extra: dict[str, str] | None = None,
    fsync: str = "everysec",
) -> Iterator[ChaosFleet]:
    with (
        running_redis(folder / "redis", fsync=fsync) as server,
        running_simulator(seed=random.randrange(1000)) as simulator,
        Client(redis_url=server.url) as client,
    ):
        given = extra or {}
        fleet = ChaosFleet(server, simulator, client, folder, concurrency, given, random=random)
        try:
            fleet.start_workers(workers)
            yield fleet
        finally:
            fleet.stop()


def broker_length(url: str) -> int:
    """Return how many hints wait in the broker."""
    with connect(url, "chaos") as redis:
        return sum(int(redis.llen(queue)) for queue in names.HINT_QUEUES)
