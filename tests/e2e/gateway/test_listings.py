"""A tenant that lists its many jobs again and again, beside another that asks."""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway import Gateway, gateway_and_fleet
from tests.support.ledger import new_job
from tests.support.pictures import data_url
from visionq.ledger import Ledger
from visionq.names import HOLDS
from visionq.redis_connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx2

JOBS = 50_000
ASKED = 200
#: Seconds between two listings.
EVERY = 1 / 3


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("query", ["", "?limit=1000", "?state=waiting&limit=1000"])
def test_listings_slow_nobody_else(tmp_path: Path, query: str) -> None:
    """Beside three listings of 50,000 jobs a second another's median is at most twice as long."""
    with gateway_and_fleet(tmp_path) as (gateway, fleet), connect(fleet.server.url, "t") as redis:
        redis.hset(HOLDS, "tenant:many", "operator")
        for _ in range(JOBS // 500):
            Ledger(redis).submit([new_job(tenant="many", model="gpt-6-luna") for _ in range(500)])
        with gateway.http(gateway.new_key("small")) as client:
            ask(client, 0, 20)
            alone = ask(client, 1_000, ASKED)
            with listing(gateway, gateway.new_key("many"), query) as taken:
                beside = ask(client, 2_000, ASKED)
    assert len(taken) >= 3
    assert statistics.median(beside) <= 2 * statistics.median(alone)


def ask(client: httpx2.Client, first: int, count: int) -> list[float]:
    """Ask one after the other, and return the seconds that each answer took."""
    seconds = []
    for number in range(first, first + count):
        started = time.monotonic()
        job = {"prompt": "What is it?", "images": [{"url": data_url(number)}]}
        answer = client.post("/v1/jobs", json=job, headers={"prefer": "wait=30"})
        assert answer.status_code == 200, answer.text
        seconds.append(time.monotonic() - started)
    return seconds


@contextmanager
def listing(gateway: Gateway, key: str, query: str) -> Iterator[list[float]]:
    """List at a fixed rate, however long each takes; gives the seconds that those done took."""
    stopped, taken, threads = threading.Event(), [], []

    def look() -> None:
        started = time.monotonic()
        with gateway.http(key) as client:
            assert client.get(f"/v1/jobs{query}").status_code == 200
        taken.append(time.monotonic() - started)

    def look_again() -> None:
        while not stopped.wait(EVERY):
            threads.append(threading.Thread(target=look))
            threads[-1].start()

    steady = threading.Thread(target=look_again)
    steady.start()
    try:
        yield taken
    finally:
        stopped.set()
        for thread in (steady, *threads):
            thread.join()
