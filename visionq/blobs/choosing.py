"""Choose the blob store by the settings."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from visionq.blobs.blob_scripts import Room
from visionq.blobs.in_redis import AsyncRedisBlobs, RedisBlobs
from visionq.blobs.in_store import AsyncObjectBlobs, ObjectBlobs
from visionq.installation import install_command
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from obstore.store import ObjectStore
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis

    from visionq.blobs.protocol import AsyncBlobStore, BlobStore
    from visionq.settings import Settings

#: One request and its retries end well within `DELETION`.
_REQUEST: Final = timedelta(seconds=60)
_RETRYING: Final = timedelta(seconds=15)


def open_blobs(settings: Settings, redis: Redis) -> BlobStore:
    """Return the store of `VISIONQ_BLOB_URL`, or Redis; raises `ConfigurationError`."""
    if settings.blob_url is None:
        return RedisBlobs(redis, _room(settings))
    return ObjectBlobs(open_store(settings.blob_url), redis, settings.blob_grace)


def open_async_blobs(settings: Settings, redis: AsyncRedis) -> AsyncBlobStore:
    """Return the asyncio store of `VISIONQ_BLOB_URL`, or Redis; raises `ConfigurationError`."""
    if settings.blob_url is None:
        return AsyncRedisBlobs(redis, _room(settings))
    return AsyncObjectBlobs(open_store(settings.blob_url), redis, settings.blob_grace)


def _room(settings: Settings) -> Room:
    return Room(settings.blob_grace, settings.blob_limit, settings.tenant_blob_limit)


def open_store(url: str) -> ObjectStore:
    """Return the object store behind an address; makes the directory of a `file://` one.

    Credentials, region and endpoint come from the environment by the names that each store's own
    tools use, as `AWS_ACCESS_KEY_ID` and `AWS_ENDPOINT_URL`.

    Raises:
        ConfigurationError: the address or the install is not fit for it.
    """
    scheme = urlsplit(url).scheme
    if find_spec("obstore") is None:
        raise ConfigurationError(f"VISIONQ_BLOB_URL: needs an extra: {install_command('blobs')}")
    return _directory(url) if scheme == "file" else _bucket(url)


def _directory(url: str) -> ObjectStore:
    from obstore.exceptions import BaseError  # noqa: PLC0415  # an extra, loaded where it is used
    from obstore.store import LocalStore  # noqa: PLC0415  # likewise

    try:
        return LocalStore(unquote(urlsplit(url).path), mkdir=True)
    except (BaseError, OSError) as error:
        cause = str(error).partition("\n")[0]
        raise ConfigurationError(f"VISIONQ_BLOB_URL: {cause}") from error


def _bucket(url: str) -> ObjectStore:
    from obstore.exceptions import BaseError  # noqa: PLC0415  # an extra, loaded where it is used
    from obstore.store import from_url  # noqa: PLC0415  # likewise

    try:
        return from_url(
            url,
            # A named endpoint without TLS is in a private network.
            client_options={"connect_timeout": "3s", "timeout": _REQUEST, "allow_http": True},
            retry_config={"max_retries": 3, "retry_timeout": _RETRYING},
        )
    except BaseError as error:
        cause = str(error).partition("\n")[0]
        raise ConfigurationError(f"VISIONQ_BLOB_URL: {cause}") from error
