from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from visionq.ledger import Ledger, Registration
from visionq.names import WORKER, WORKERS
from worker.heartbeat import Heartbeat
from worker.leases import Leases

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Claim

SCRIPT = Path(__file__).parents[2] / "scripts/worker_alive.py"


def check(redis_url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # our own script
        [sys.executable, SCRIPT],
        env={**os.environ, "VISIONQ_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("host", "seconds", "expected"),
    [
        (socket.gethostname(), 60, 0),
        (socket.gethostname(), -1, 1),
        ("another-host", 60, 1),
    ],
)
def test_worker_is_alive_while_registered(
    redis: Redis, redis_url: str, host: str, seconds: int, expected: int
) -> None:
    """The check passes only while a worker of this host has a registration that holds."""
    lapses = round((time.time() + seconds) * 1000)
    redis.zadd(WORKERS, {f"{host}:1:0123abcd": lapses})
    assert check(redis_url).returncode == expected


def register(redis: Redis, worker: str, **facts: int) -> None:
    redis.zadd(WORKERS, {worker: round((time.time() + 60) * 1000)})
    redis.hset(WORKER + worker, "facts", json.dumps(facts))


@pytest.mark.parametrize(("hung", "expected"), [(0, 0), (1, 1)])
def test_worker_is_well_while_its_jobs_move_on(
    redis: Redis, redis_url: str, hung: int, expected: int
) -> None:
    """A worker with a job that hangs is not well, however regularly it gives signs of life."""
    register(redis, f"{socket.gethostname()}:1:0123abcd", jobs=3, hung=hung)
    register(redis, "another-host:1:0123abcd", jobs=1, hung=1)
    result = check(redis_url)
    assert result.returncode == expected
    assert ("1 of 3 jobs hang" in result.stderr) is bool(hung)


def test_worker_tells_of_a_job_beyond_its_time(redis: Redis, redis_url: str) -> None:
    """A job that outlasts its stage is in the worker's next sign of life, until it comes back."""
    now = [0.0]
    leases = Leases(lambda: now[0])
    registration = Registration(f"{socket.gethostname()}:1:0123abcd", 4, ("visionq.bulk",))
    heartbeat = Heartbeat(Ledger(redis), leases, registration)
    claim = cast("Claim", SimpleNamespace(id="slow", token="0123"))  # noqa: S106  # of a claim
    with leases.hold(claim, seconds=60):
        heartbeat._beat()
        assert check(redis_url).returncode == 0
        now[0] = 60.0
        heartbeat._beat()
        assert "1 of 1 jobs hang" in check(redis_url).stderr
    heartbeat._beat()
    assert check(redis_url).returncode == 0


def test_unreachable_redis_is_one_line() -> None:
    """Without Redis the check fails, and says why in one line."""
    result = check("redis://127.0.0.1:1/0")
    assert result.returncode == 1
    assert result.stderr.startswith(f"{socket.gethostname()}: queue_unavailable: ")
    assert result.stderr.count("\n") == 1
