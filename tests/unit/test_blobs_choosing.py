"""Which store the settings ask for, and what is reported of an address that is wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from obstore.store import LocalStore, S3Store
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from visionq.blobs import (
    AsyncObjectBlobs,
    AsyncRedisBlobs,
    ObjectBlobs,
    RedisBlobs,
    choosing,
    open_async_blobs,
    open_blobs,
)
from visionq.blobs.choosing import open_store
from visionq.ledger import ledger_options
from visionq.settings import ConfigurationError, Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


def test_redis_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no address, or an empty one, pictures are in Redis."""
    monkeypatch.setenv("VISIONQ_BLOB_URL", "")
    settings = load_settings()
    assert isinstance(open_blobs(settings, Redis()), RedisBlobs)
    assert isinstance(open_async_blobs(settings, AsyncRedis()), AsyncRedisBlobs)
    assert ledger_options(settings).blobs_are_here


def test_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory is made, under any name, and the ledger looks for no blob in Redis."""
    monkeypatch.setenv("VISIONQ_BLOB_URL", (tmp_path / "мои фото" / "deep").as_uri())
    settings = load_settings()
    assert isinstance(open_blobs(settings, Redis()), ObjectBlobs)
    assert isinstance(open_async_blobs(settings, AsyncRedis()), AsyncObjectBlobs)
    assert (tmp_path / "мои фото" / "deep").is_dir()
    assert not ledger_options(settings).blobs_are_here


def test_kinds(tmp_path: Path) -> None:
    """An address of a bucket names the bucket and a prefix; localhost is this machine."""
    bucket = open_store("s3://bucket/some/prefix")
    assert isinstance(bucket, S3Store)
    assert bucket.prefix == "some/prefix"
    assert isinstance(open_store(f"file://localhost{tmp_path}"), LocalStore)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory:///", "must begin with"),
        ("redis://127.0.0.1/1", "must begin with"),
        ("/var/pictures", "must begin with"),
        ("https://example.com/pictures", "must begin with"),
        ("file://relative/pictures", "absolute"),
        ("file:relative", "absolute"),
        ("s3://", "VISIONQ_BLOB_URL"),
        ("file:///dev/null/pictures", "VISIONQ_BLOB_URL"),
    ],
)
def test_wrong_addresses(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that can't be used is refused at the start, naming the variable."""
    monkeypatch.setenv("VISIONQ_BLOB_URL", url)
    with pytest.raises(ConfigurationError, match=said) as raised:
        open_blobs(load_settings(), Redis(port=1))
    assert "VISIONQ_BLOB_URL" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """An install that lacks the library names what to install."""
    monkeypatch.setattr(choosing, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"visionq\[blobs\]"):
        open_store("s3://bucket")


def test_grace_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grace that is none is refused, naming the variable."""
    monkeypatch.setenv("VISIONQ_BLOB_GRACE", "0")
    with pytest.raises(ConfigurationError, match="VISIONQ_BLOB_GRACE"):
        load_settings()


def test_nothing_connects() -> None:
    """Choosing a store reaches for no network."""

    async def choose() -> None:
        open_async_blobs(Settings(), AsyncRedis(port=1))

    open_blobs(Settings(blob_url="s3://bucket"), Redis(port=1))
    asyncio.run(choose())
