"""Blobs outside Redis: in a directory or an object store, through `obstore`.

Redis keeps the books. A blob is registered before it is uploaded, so that nobody deletes it in
between, and it is deleted under a mark that makes an upload of the same bytes wait.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from visionq.blobs.blob_scripts import portions, registered
from visionq.blobs.content import by_name, sha256_of, verified, verified_off_loop
from visionq.errors import QueueUnavailable
from visionq.lua import script_text
from visionq.names import BLOB_DELETIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from obstore.store import ObjectStore
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

#: Seconds for which a deletion is nobody else's business: longer than any request can take, by the
#: timeouts that `open_store` sets.
DELETION: Final = 90.0
_PAUSE_WHILE_DELETED: Final = 0.05
#: Uploads at a time: more hide the latency of a store across a network, up to its bandwidth.
_UPLOADS: Final = 16


class ObjectBlobs:
    """Blobs in an object store, with their books in Redis."""

    def __init__(self, store: ObjectStore, redis: Redis, grace: int) -> None:
        """Keep a blob without a job for `grace` seconds; a sweep deletes it."""
        self._store = store
        self._redis = redis
        self._grace = grace
        self._register = redis.register_script(script_text("register"))
        self._sweep = redis.register_script(script_text("sweep"))

    def put(self, contents: Sequence[bytes], tenant: str = "") -> list[str]:  # noqa: ARG002  # its room is the operator's, and has no end
        """Register all blobs, and upload missing ones concurrently."""
        for few in portions(by_name(contents)):
            unknown = self._registered(few)

            def upload(name: str, few: Mapping[str, bytes] = few, new: set[str] = unknown) -> None:
                self._upload(name, few[name], is_new=name in new)

            with ThreadPoolExecutor(_UPLOADS) as pool:
                list(pool.map(upload, few))
        return [sha256_of(content) for content in contents]

    def get(self, sha256: str) -> bytes:
        """Return the bytes, verified against their name."""
        with _store_errors():
            try:
                content = bytes(self._store.get(_path(sha256)).bytes())
            except FileNotFoundError:
                return verified(sha256, None)
        return verified(sha256, content)

    def size(self, sha256: str) -> int:
        """Return how many bytes the blob has."""
        with _store_errors():
            try:
                return self._store.head(_path(sha256))["size"]
            except FileNotFoundError:
                return 0

    def sweep(self, limit: int = 500) -> int:
        """Delete expired blobs, including those left by a dead deleter."""
        reply: Any = self._sweep(args=("", limit, round(DELETION * 1000)))
        looked_at, names = reply
        if names:
            with _store_errors():
                self._delete([_path(name.decode()) for name in names])
            self._redis.zrem(BLOB_DELETIONS, *names)
        return int(looked_at)

    def _registered(self, blobs: Mapping[str, bytes]) -> set[str]:
        while True:
            unknown = registered(self._reply(blobs))
            if unknown is not None:
                return unknown
            time.sleep(_PAUSE_WHILE_DELETED)

    def _reply(self, blobs: Mapping[str, bytes]) -> Any:  # noqa: ANN401  # what a script returns
        return self._register(args=("", self._grace, *blobs))

    def _upload(self, name: str, content: bytes, *, is_new: bool) -> None:
        with _store_errors():
            if is_new or not self._is_there(name):
                self._store.put(_path(name), content)

    def _is_there(self, name: str) -> bool:
        try:
            self._store.head(_path(name))
        except FileNotFoundError:
            return False
        return True

    def _delete(self, paths: list[str]) -> None:
        try:
            self._store.delete(paths)
        except FileNotFoundError:
            # A directory stops at the first that is not there; object stores don't mind.
            for path in paths:
                with suppress(FileNotFoundError):
                    self._store.delete(path)


class AsyncObjectBlobs:
    """`ObjectBlobs` for asyncio."""

    def __init__(self, store: ObjectStore, redis: AsyncRedis, grace: int) -> None:
        self._store = store
        self._grace = grace
        self._register = redis.register_script(script_text("register"))

    async def put(self, contents: Sequence[bytes], tenant: str = "") -> list[str]:  # noqa: ARG002  # its room is the operator's, and has no end
        """Register all blobs, and upload missing ones concurrently."""
        places = asyncio.Semaphore(_UPLOADS)
        for few in portions(by_name(contents)):
            unknown = await self._registered(few)
            async with asyncio.TaskGroup() as uploads:
                for name, content in few.items():
                    uploads.create_task(self._upload(name, content, places, is_new=name in unknown))
        return [sha256_of(content) for content in contents]

    async def get(self, sha256: str) -> bytes:
        """Return the bytes, verified against their name."""
        with _store_errors():
            try:
                found = await self._store.get_async(_path(sha256))
                content = bytes(await found.bytes_async())
            except FileNotFoundError:
                return verified(sha256, None)
        return await verified_off_loop(sha256, content)

    async def size(self, sha256: str) -> int:
        """Return how many bytes the blob has."""
        with _store_errors():
            try:
                return (await self._store.head_async(_path(sha256)))["size"]
            except FileNotFoundError:
                return 0

    async def _registered(self, blobs: Mapping[str, bytes]) -> set[str]:
        while True:
            reply: Any = await self._register(args=("", self._grace, *blobs))
            unknown = registered(reply)
            if unknown is not None:
                return unknown
            await asyncio.sleep(_PAUSE_WHILE_DELETED)

    async def _upload(
        self, name: str, content: bytes, places: asyncio.Semaphore, *, is_new: bool
    ) -> None:
        async with places:
            with _store_errors():
                if is_new or not await self._is_there(name):
                    await self._store.put_async(_path(name), content)

    async def _is_there(self, name: str) -> bool:
        try:
            await self._store.head_async(_path(name))
        except FileNotFoundError:
            return False
        return True


def _path(sha256: str) -> str:
    # At most 256 directories, each with a share of the files.
    return f"{sha256[:2]}/{sha256}"


@contextmanager
def _store_errors() -> Iterator[None]:
    """Map the store's errors to `QueueUnavailable`."""
    from obstore.exceptions import BaseError  # noqa: PLC0415  # an extra, loaded where it is used

    try:
        yield
    except (BaseError, OSError) as error:
        cause = str(error).partition("\n")[0]
        raise QueueUnavailable(
            f"the blob store can't be used ({cause}); is VISIONQ_BLOB_URL right, and may this"
            " process read and write there?"
        ) from error
