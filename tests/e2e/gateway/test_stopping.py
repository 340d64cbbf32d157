"""A gateway that is stopped answers the calls that it cuts, and logs no traceback."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.support.gateway import asked, running_gateway
from tests.support.waiting import until
from visionq.devstack.redis_server import running_redis
from visionq.names import JOB
from visionq.redis_connection import connect

if TYPE_CHECKING:
    from pathlib import Path


def test_a_cut_call_is_answered(tmp_path: Path) -> None:
    """A call that waits for its answer at SIGTERM gets 503; its job stays in the ledger."""
    with (
        running_redis(tmp_path / "redis") as server,
        running_gateway(tmp_path, server.url) as gateway,
        gateway.http() as client,
        ThreadPoolExecutor(1) as pool,
        connect(server.url, "tests") as redis,
    ):
        call = pool.submit(
            client.post, "/v1/responses", json={"model": "gpt-4o-mini", "input": asked(1)}
        )
        until(lambda: call.done() or any(redis.scan_iter(f"{JOB}*")), 20, gateway.log)
        gateway.stop()
        answer = call.result(20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_unavailable")
        assert any(redis.scan_iter(f"{JOB}*"))
    assert "Traceback" not in gateway.log()
