"""Bytes of pictures, by the sha256 of their content."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from visionq.errors import BlobMissing
from visionq.names import BLOB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis


class BlobStore(Protocol):
    """Where blobs stand. Stored bytes never change: their name is their hash."""

    def put(self, contents: Sequence[bytes]) -> list[str]:
        """Keep each until its first job takes it, or the grace ends; returns their sha256."""
        ...

    def get(self, sha256: str) -> bytes:
        """Return the bytes; raises `BlobMissing` if absent or not what their name says."""
        ...


def sha256_of(content: bytes) -> str:
    """Return the name of a blob."""
    return hashlib.sha256(content).hexdigest()


class RedisBlobs:
    """Blobs in the ledger's Redis, where submit counts who needs them and finish lets them go."""

    def __init__(self, redis: Redis, grace: int) -> None:
        """`grace` is the seconds that a blob without a job is kept."""
        self._redis = redis
        self._grace = grace

    def put(self, contents: Sequence[bytes]) -> list[str]:
        """Store what is not there yet, in one round trip."""
        names = [sha256_of(content) for content in contents]
        with self._redis.pipeline(transaction=False) as pipeline:
            for name, content in zip(names, contents, strict=True):
                # A blob that a job has taken already does not expire, and must not begin to.
                pipeline.set(BLOB + name, content, ex=self._grace, nx=True)
            pipeline.execute()
        return names

    def get(self, sha256: str) -> bytes:
        """Return the bytes after checking them against their name."""
        content = self._redis.get(BLOB + sha256)
        return verified(sha256, content if isinstance(content, bytes) else None)


class AsyncRedisBlobs:
    """The producer's half of `RedisBlobs`, for asyncio."""

    def __init__(self, redis: AsyncRedis, grace: int) -> None:
        self._redis = redis
        self._grace = grace

    async def put(self, contents: Sequence[bytes]) -> list[str]:
        """Store what is not there yet, in one round trip."""
        names = [sha256_of(content) for content in contents]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name, content in zip(names, contents, strict=True):
                pipeline.set(BLOB + name, content, ex=self._grace, nx=True)
            await pipeline.execute()
        return names


def verified(sha256: str, content: bytes | None) -> bytes:
    """Return the content if it is what its name says; raises `BlobMissing`."""
    if content is None:
        raise BlobMissing(f"blob {sha256[:12]}… is not in the blob store; submit its picture again")
    if sha256_of(content) != sha256:
        raise BlobMissing(f"blob {sha256[:12]}… does not match its hash; submit its picture again")
    return content
