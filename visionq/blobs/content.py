"""Blobs and their names."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from visionq.errors import BlobMissing

if TYPE_CHECKING:
    from collections.abc import Sequence


def sha256_of(content: bytes) -> str:
    """Return the name of a blob."""
    return hashlib.sha256(content).hexdigest()


def verified(sha256: str, content: bytes | None) -> bytes:
    """Return the content if it is what its name says; raises `BlobMissing`."""
    if content is None:
        raise BlobMissing(f"blob {sha256[:12]}… is not in the blob store; submit its picture again")
    if sha256_of(content) != sha256:
        raise BlobMissing(f"blob {sha256[:12]}… does not match its hash; submit its picture again")
    return content


def by_name(contents: Sequence[bytes]) -> dict[str, bytes]:
    """Return each content once, by its name."""
    return {sha256_of(content): content for content in contents}
