"""The thread that keeps a process registered and its leases running, on a real Redis."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import BOTH, new_job
from tests.support.waiting import until
from tests.support.worker_ledger import WorkerLedger
from visionq import names
from visionq.devstack.redis_server import running_redis
from visionq.ledger import Claim, LedgerOptions, Registration
from visionq.ledger.views import job_views
from visionq.redis_connection import connect
from worker.threads.heartbeat import Heartbeat, Leases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

LEASE = 1.0
OPTIONS = LedgerOptions(lease=LEASE, gap=0.8, slots_per_hint_ahead=0)
HERE = Registration("w1", 4, BOTH, {"pid": 7})


class Fleet:
    """One process's heartbeat, and someone else who dispatches."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.ledger = WorkerLedger(redis, OPTIONS)
        self.leases = Leases()
        self.heartbeat = Heartbeat(self.ledger, self.leases, HERE)

    def claim(self) -> Claim:
        job = new_job()
        self.ledger.submit([job])
        until(lambda: any(hint.id == job.id for hint in self.ledger.dispatch().hints))
        claim = self.ledger.claim(job.id, f"token-{job.id}", HERE)
        assert isinstance(claim, Claim)
        return claim

    def state(self, claim: Claim) -> str:
        (view,) = job_views(self.redis, [claim.id])
        assert view is not None
        return str(view.state)

    def live(self, seconds: float) -> None:
        """Let time pass while someone dispatches."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.ledger.dispatch()
            time.sleep(0.1)

    def slots(self) -> int:
        pools: Any = self.redis.hgetall(names.POOL_SLOTS)
        return sum(int(slots) for slots in pools.values())

    def registered(self) -> dict[str, str]:
        stored: Any = self.redis.hgetall(f"{names.WORKER}w1")
        return {name.decode(): value.decode() for name, value in stored.items()}


@contextmanager
def beating(fleet: Fleet) -> Iterator[Fleet]:
    fleet.heartbeat.start()
    until(lambda: fleet.slots() == 4)
    try:
        yield fleet
    finally:
        fleet.heartbeat.stop()


@pytest.fixture
def fleet(redis: Redis) -> Iterator[Fleet]:
    with beating(Fleet(redis)) as fleet:
        yield fleet


def test_registers_with_its_facts(fleet: Fleet) -> None:
    """A process is known by its slots and facts for as long as it beats."""
    assert json.loads(fleet.registered()["facts"])["pid"] == 7
    fleet.live(2 * LEASE)
    assert fleet.slots() == 4


def test_keeps_a_long_job(fleet: Fleet) -> None:
    """A job that takes longer than several leases stays its worker's."""
    claim = fleet.claim()
    with fleet.leases.hold(claim, 60):
        fleet.live(3 * LEASE)
        assert fleet.state(claim) == "in_progress"


def test_drops_a_hung_stage(fleet: Fleet) -> None:
    """A job whose stage is beyond its time is taken away; its neighbour is kept."""
    hung, kept = fleet.claim(), fleet.claim()
    with fleet.leases.hold(hung, 0.2), fleet.leases.hold(kept, 60):
        fleet.live(2.5 * LEASE)
        assert fleet.state(hung) == "queued"
        assert fleet.state(kept) == "in_progress"


def test_drains_and_leaves(fleet: Fleet) -> None:
    """A process that drains has only the slots that it fills, keeps their leases, and goes."""
    first, second = fleet.claim(), fleet.claim()
    with fleet.leases.hold(first, 60):
        with fleet.leases.hold(second, 60):
            fleet.heartbeat.drain()
            until(lambda: fleet.slots() == 2)
        until(lambda: fleet.slots() == 1)
        fleet.live(2 * LEASE)
        assert fleet.state(first) == "in_progress"
    until(lambda: fleet.slots() == 0)
    assert fleet.registered() == {}


def test_takes_leave_at_once(redis: Redis) -> None:
    """After its end a process is not waited for until its registration lapses."""
    with beating(Fleet(redis)) as fleet:
        pass
    assert fleet.slots() == 0
    assert redis.zcard(names.WORKERS) == 0


def test_ended_before_it_began(redis: Redis) -> None:
    """A process that ends before it was ready has nothing to take leave of."""
    fleet = Fleet(redis)
    fleet.heartbeat.stop()
    assert redis.dbsize() == 0


def test_survives_redis(tmp_path: Path) -> None:
    """While Redis is away no lease lapses; when it is back the process is registered again."""
    with (
        running_redis(tmp_path) as server,
        connect(server.url, "tests", retries=0) as redis,
        beating(Fleet(redis)) as fleet,
    ):
        claim = fleet.claim()
        with fleet.leases.hold(claim, 60):
            server.kill()
            time.sleep(2 * LEASE)
            server.start()
            fleet.live(2 * LEASE)
            assert fleet.state(claim) == "in_progress"
            assert fleet.slots() == 4


def test_leaving_while_redis_is_away(tmp_path: Path) -> None:
    """A process ends within reason when there is nobody to take leave of."""
    with running_redis(tmp_path) as server, connect(server.url, "tests", retries=0) as redis:
        fleet = Fleet(redis)
        fleet.heartbeat.start()
        until(lambda: fleet.slots() == 4)
        server.kill()
        began = time.monotonic()
        fleet.heartbeat.stop()
        assert time.monotonic() - began < 5
        server.start()


def test_lives_through_errors_of_its_own(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen error does not end the thread on which every lease hangs."""
    renew, failures = fleet.ledger.renew, [ValueError("oh"), ValueError("oh")]

    def fail(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return renew(*args)

    monkeypatch.setattr(fleet.ledger, "renew", fail)
    claim = fleet.claim()
    with fleet.leases.hold(claim, 60):
        until(lambda: not failures)
        fleet.live(2 * LEASE)
        assert fleet.slots() == 4
