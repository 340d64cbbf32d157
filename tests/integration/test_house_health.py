from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from visionq.names import WORKERS

if TYPE_CHECKING:
    from redis import Redis

SCRIPT = Path(__file__).parents[2] / "scripts/worker_alive.py"


def check(redis_url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own script
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


def test_unreachable_redis_is_one_line() -> None:
    """Without Redis the check fails, and says why in one line."""
    result = check("redis://127.0.0.1:1/0")
    assert result.returncode == 1
    assert result.stderr.startswith("error: queue_unavailable: ")
    assert result.stderr.count("\n") == 1
