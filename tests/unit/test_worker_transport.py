"""What a message's own compression may cost the worker that reads it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from kombu import compression

from worker.celery import transport


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: Any = compression
    monkeypatch.setattr(compression, "_decoders", dict(registered._decoders))
    monkeypatch.setattr(compression, "_encoders", dict(registered._encoders))
    monkeypatch.setattr(transport, "_LARGEST", 100_000)
    transport.register()


@pytest.mark.parametrize("method", ["gzip", "bzip2", "xz"])
def test_a_compressed_body_is_read(method: str) -> None:
    """Messages that Celery's clients compress are unpacked, up to the largest document."""
    for body in (b"", b"[[], {}, {}]", os.urandom(99_000)):
        packed, content_type = compression.compress(body, method)
        assert compression.decompress(packed, content_type) == body


@pytest.mark.parametrize("method", ["gzip", "bzip2", "xz"])
def test_a_bomb_is_refused(method: str) -> None:
    """A body that would unpack to more than that is refused without being unpacked."""
    packed, content_type = compression.compress(b"\0" * 5_000_000, method)
    with pytest.raises(ValueError, match="more than 100,000 bytes"):
        compression.decompress(packed, content_type)


def test_a_compression_without_a_bound_is_refused() -> None:
    """A method that can't be unpacked within a bound is refused, naming those that can."""
    compression.register(bytes, bytes, "application/x-endless", aliases=["endless"])
    transport.register()
    with pytest.raises(ValueError, match="gzip, bzip2 and xz"):
        compression.decompress(b"?", "endless")
