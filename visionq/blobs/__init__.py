"""Bytes of pictures, by the sha256 of their content, in Redis or in an object store."""

from visionq.blobs.blob_scripts import Room
from visionq.blobs.choosing import open_async_blobs, open_blobs
from visionq.blobs.content import sha256_of, verified
from visionq.blobs.in_redis import AsyncRedisBlobs, RedisBlobs
from visionq.blobs.in_store import AsyncObjectBlobs, ObjectBlobs
from visionq.blobs.protocol import AsyncBlobStore, BlobStore

__all__ = [
    "AsyncBlobStore",
    "AsyncObjectBlobs",
    "AsyncRedisBlobs",
    "BlobStore",
    "ObjectBlobs",
    "RedisBlobs",
    "Room",
    "open_async_blobs",
    "open_blobs",
    "sha256_of",
    "verified",
]
