"""The gateway's own Redis user: enough for all that it does, and for nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import NoPermissionError

from tests.support.gateway import asked, running_gateway
from tests.support.pictures import data_url
from tests.support.waiting import until
from visionq.devstack.redis_server import running_redis
from visionq.model_migrations import Migration, migrate
from visionq.redis_connection import connect

if TYPE_CHECKING:
    from redis import Redis

    from tests.support.gateway import Gateway

MOVE = Migration(
    source="gpt-6-luna",
    target="gpt-6.1-terra",
    at=datetime(2026, 12, 1, tzinfo=UTC),
    by="me@here",
)
ACL = Path(__file__).parents[3] / "docs" / "acl" / "gateway.acl"


def test_its_user_is_enough(tmp_path: Path) -> None:
    """Jobs, batches, quotes and the like are refused nothing; a migrated model is followed."""
    with running_redis(tmp_path / "redis") as server, connect(server.url, "tests") as admin:
        _, name, *rules = ACL.read_text().replace("GATEWAY_PASSWORD", "pass").split()
        admin.execute_command("ACL", "SETUSER", name, *rules)
        url = f"redis://{name}:pass@{server.url.removeprefix('redis://')}"
        with running_gateway(tmp_path, url, VISIONQ_GATEWAY_LONGEST_WAIT="0.2") as gateway:
            try:
                migrate(admin, MOVE)
                use(gateway)
            finally:
                assert refusals(admin) == []
        with connect(url, "tests") as redis, pytest.raises(NoPermissionError):
            redis.flushall()


def use(gateway: Gateway) -> None:
    with gateway.openai() as client, gateway.http() as http:
        client.models.list()
        response = client.responses.create(input=asked(1), model="gpt-6-luna")
        client.responses.cancel(response.id)
        job = {"prompt": "?", "images": [{"url": data_url(1)}]}
        answer = http.post("/v1/jobs", json=job)
        assert (answer.status_code, answer.json()["model"]) == (202, MOVE.target)
        assert http.post("/v1/quotes", json={"jobs": [job]}).status_code == 200
        assert http.get("/v1/jobs").status_code == 200
        line = {"custom_id": "1", "method": "POST", "url": "/v1/responses"}
        body = {"input": asked(2), "model": "gpt-6-luna"}
        content = ("a.jsonl", json.dumps({**line, "body": body}).encode())
        file = client.files.create(file=content, purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/responses", completion_window="24h"
        )
        assert client.batches.list().data
        client.batches.cancel(batch.id)
        until(lambda: client.batches.retrieve(batch.id).status == "cancelled", 20, "the end")


def refusals(admin: Redis) -> list[Any]:
    log: list[Any] = admin.acl_log(count=100)
    return [entry["object"] for entry in log if entry["object"] != "client"]
