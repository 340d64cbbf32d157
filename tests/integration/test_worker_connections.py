"""A worker works over every kind of connection to Redis."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.pictures import picture
from tests.support.warm_processes import WarmProcess, running_simulator
from visionq.redis_connection import connect
from visionq.sdk import Client

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["unix_url", "tls_url"])
def test_a_worker_answers_over_sockets_and_tls(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """A job is answered when Redis is reached by a Unix socket (6.2) or over TLS (7.0)."""
    url = request.getfixturevalue(kind)
    with connect(url, "tests") as redis:
        redis.flushall()
    with running_simulator() as simulator:
        environment = {
            **os.environ,
            "VISIONQ_REDIS_URL": url,
            "PROXYAPI_BASE_URL": simulator.provider_url,
        }
        command = ["worker", "--concurrency", "4"]
        worker = WarmProcess(command, environment, tmp_path / "log")
        try:
            with Client(redis_url=url) as client:
                job = client.submit(prompt="Что изображено?", images=[picture(5)])
                assert "64x48" in job.wait(timeout=30).text
        finally:
            worker.terminate()
            assert worker.wait(20) == 0, (tmp_path / "log").read_text()
