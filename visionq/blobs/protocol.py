"""The interface of blob stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class BlobStore(Protocol):
    """A store of blobs. Stored bytes never change: their name is their hash.

    A blob stays while an unfinished job needs it, and a grace beyond; one that no job took goes
    when the grace since the last `put` is over.
    """

    def put(self, contents: Sequence[bytes], tenant: str = "") -> list[str]:
        """Store the blobs for their first job; return their sha256, in order.

        They count among those of the tenant, if one is named. What is there already is not sent
        again. A blob is seen whole or not at all.

        Raises:
            QueueUnavailable: there is no room, or the store can't be used; the message says what
                to do.
            QuotaExceeded: there is no room for so much of one tenant.
        """
        ...

    def get(self, sha256: str) -> bytes:
        """Return the bytes.

        Raises:
            BlobMissing: they are absent, or not what their name says.
            QueueUnavailable: a store outside Redis can't be used.
        """
        ...

    def size(self, sha256: str) -> int:
        """Return how many bytes the blob has, 0 for one that is absent.

        Raises:
            QueueUnavailable: a store outside Redis can't be used.
        """
        ...

    def sweep(self, limit: int = 500) -> int:
        """Delete at most `limit` expired blobs; return how many were checked.

        Raises:
            QueueUnavailable: a store outside Redis can't be used; they are tried again later.
        """
        ...


class AsyncBlobStore(Protocol):
    """A blob store for asyncio."""

    async def put(self, contents: Sequence[bytes], tenant: str = "") -> list[str]:
        """See `BlobStore.put`."""
        ...

    async def get(self, sha256: str) -> bytes:
        """See `BlobStore.get`."""
        ...

    async def size(self, sha256: str) -> int:
        """See `BlobStore.size`."""
        ...
