"""What Redis holds of a batch, at any moment of its gateway's death."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as ConnectionFailed

from producer.gateway.batches.batch_store import Batch, BatchBook
from visionq.ledger import AsyncLedger, LedgerOptions
from visionq.names import FILE_BATCH, OPEN_BATCHES

if TYPE_CHECKING:
    from redis import Redis as SyncRedis


class DyingRedis(Redis):
    """A client whose process dies after a number of commands outside of transactions."""

    commands_left = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.commands_left == 0:
            raise ConnectionFailed("died")
        self.commands_left -= 1
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's


def new_batch(**fields: Any) -> Batch:
    now = int(time.time())
    return Batch(
        id="batch_1",
        tenant="t",
        endpoint="/v1/responses",
        input_file_id="file_1",
        completion_window="24h",
        created_at=now,
        expires_at=now + 86_400,
        lines=3,
        **fields,
    )


def opened(url: str, batch: Batch, commands: int = 100) -> bool:
    async def act() -> bool:
        redis = DyingRedis.from_url(url)
        assert isinstance(redis, DyingRedis)
        redis.commands_left = commands
        async with redis:
            return await BatchBook(redis, AsyncLedger(redis, LedgerOptions()), 60).open(batch)

    return asyncio.run(act())


@pytest.mark.parametrize("commands", range(3))
def test_entered_is_listed(redis: SyncRedis, redis_url: str, commands: int) -> None:
    """No gateway can die between writing a batch and listing it as open."""
    with suppress(ConnectionFailed):
        opened(redis_url, new_batch(), commands)
    assert redis.exists(FILE_BATCH + "batch_1") == redis.exists(OPEN_BATCHES)
    opened(redis_url, new_batch())
    assert redis.zrange(OPEN_BATCHES, 0, -1) == [b"batch_1"]


def test_repeated_call_lists_a_batch_again(redis: SyncRedis, redis_url: str) -> None:
    """A batch that an older gateway wrote and did not list is listed by the client's next call."""
    assert opened(redis_url, new_batch())
    redis.delete(OPEN_BATCHES)
    assert not opened(redis_url, new_batch(metadata={"later": "call"}))
    assert redis.zrange(OPEN_BATCHES, 0, -1) == [b"batch_1"]
    assert redis.hget(FILE_BATCH + "batch_1", "metadata") == b"{}"


@pytest.mark.parametrize("status", ["in_progress", "completed", "failed"])
def test_begun_is_left_alone(redis: SyncRedis, redis_url: str, status: str) -> None:
    """A repeated call neither lists nor changes a batch that has begun or ended."""
    assert opened(redis_url, new_batch())
    redis.hset(FILE_BATCH + "batch_1", "status", f'"{status}"')
    redis.delete(OPEN_BATCHES)
    before = redis.hgetall(FILE_BATCH + "batch_1")
    assert not opened(redis_url, new_batch())
    assert redis.exists(OPEN_BATCHES) == 0
    assert redis.hgetall(FILE_BATCH + "batch_1") == before
