"""Blobs and their names."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

from visionq.errors import BlobMissing

if TYPE_CHECKING:
    from collections.abc import Sequence


#: Bytes that are hashed within a millisecond.
_FEW_BYTES: Final = 500_000


def sha256_of(content: bytes) -> str:
    """Return the name of a blob."""
    return hashlib.sha256(content).hexdigest()


def verified(sha256: str, content: bytes | None) -> bytes:
    """Return the content if it matches its name; raises `BlobMissing`."""
    if content is None:
        raise BlobMissing(
            f"blob {sha256[:12]}… is not in the blob store; submit its picture again, and let every"
            " process have the same VISIONQ_BLOB_URL"
        )
    if sha256_of(content) != sha256:
        raise BlobMissing(f"blob {sha256[:12]}… does not match its hash; submit its picture again")
    return content


async def verified_off_loop(sha256: str, content: bytes | None) -> bytes:
    """Return `verified` content, checking large blobs in a thread."""
    if content is None or len(content) <= _FEW_BYTES:
        return verified(sha256, content)
    return await asyncio.to_thread(verified, sha256, content)


def by_name(contents: Sequence[bytes]) -> dict[str, bytes]:
    """Return each content once, by its name."""
    return {sha256_of(content): content for content in contents}
