"""Blobs in the ledger's Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from visionq.blobs.blob_scripts import Room, portions, reservation, reserved
from visionq.blobs.content import by_name, sha256_of, verified, verified_off_loop
from visionq.lua import script_text
from visionq.names import BLOB, BLOB_DELETIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio.client import Pipeline as AsyncPipeline
    from redis.client import Pipeline


class RedisBlobs:
    """Blobs in the ledger's Redis, which expires them."""

    def __init__(self, redis: Redis, room: Room) -> None:
        """Store blobs within `room`."""
        self._redis = redis
        self._room = room
        self._reserve = redis.register_script(script_text("reserve"))
        self._sweep = redis.register_script(script_text("sweep"))

    def put(self, contents: Sequence[bytes], tenant: str = "") -> list[str]:
        """Store missing blobs, in two round trips."""
        for few in portions(by_name(contents)):
            reply: Any = self._reserve(args=reservation(few, self._room, tenant))
            with self._redis.pipeline(transaction=False) as pipeline:
                for name in reserved(reply):
                    _store(pipeline, name, few[name], self._room.grace)
                pipeline.execute()
        return [sha256_of(content) for content in contents]

    def get(self, sha256: str) -> bytes:
        """Return the bytes, verified against their name."""
        content = self._redis.get(BLOB + sha256)
        return verified(sha256, content if isinstance(content, bytes) else None)

    def size(self, sha256: str) -> int:
        """Return how many bytes the blob has."""
        size: Any = self._redis.strlen(BLOB + sha256)
        return int(size)

    def sweep(self, limit: int = 500) -> int:
        """Remove blobs from the books that Redis has expired."""
        reply: Any = self._sweep(args=("", limit, 0))
        looked_at, elsewhere = reply
        if elsewhere:
            self._redis.zrem(BLOB_DELETIONS, *elsewhere)
        return int(looked_at)


class AsyncRedisBlobs:
    """`RedisBlobs` for asyncio."""

    def __init__(self, redis: AsyncRedis, room: Room) -> None:
        self._redis = redis
        self._room = room
        self._reserve = redis.register_script(script_text("reserve"))

    async def put(self, contents: Sequence[bytes], tenant: str = "") -> list[str]:
        """Store missing blobs, in two round trips."""
        for few in portions(by_name(contents)):
            reply: Any = await self._reserve(args=reservation(few, self._room, tenant))
            async with self._redis.pipeline(transaction=False) as pipeline:
                for name in reserved(reply):
                    _store(pipeline, name, few[name], self._room.grace)
                await pipeline.execute()
        return [sha256_of(content) for content in contents]

    async def get(self, sha256: str) -> bytes:
        """Return the bytes, verified against their name."""
        content = await self._redis.get(BLOB + sha256)
        return await verified_off_loop(sha256, content if isinstance(content, bytes) else None)

    async def size(self, sha256: str) -> int:
        """Return how many bytes the blob has."""
        size: Any = await self._redis.strlen(BLOB + sha256)
        return int(size)


def _store(pipeline: Pipeline | AsyncPipeline, name: str, content: bytes, grace: int) -> None:
    # A blob that a job has taken meanwhile does not expire, and must not begin to.
    pipeline.set(BLOB + name, content, ex=grace, nx=True)
