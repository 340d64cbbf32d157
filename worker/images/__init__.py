"""Check and encode the bytes of untrusted pictures.

`inspect` and `check` say what a file is, `encode` and `encode_as_seen` make what is sent.
"""

from __future__ import annotations

from visionq.images.kinds import KINDS, MIME_TYPES, Kind, identify
from worker.images.check import check, inspect
from worker.images.encode import EncodedImage, encode, encode_as_seen
from worker.images.layout import CheckedImage, ImageLimits
from worker.images.memory import (
    DecodeSlots,
    MemoryLimiter,
    MemoryReservation,
    PrepareSlot,
    PrepareSlots,
)

__all__ = [
    "KINDS",
    "MIME_TYPES",
    "CheckedImage",
    "DecodeSlots",
    "EncodedImage",
    "ImageLimits",
    "Kind",
    "MemoryLimiter",
    "MemoryReservation",
    "PrepareSlot",
    "PrepareSlots",
    "check",
    "encode",
    "encode_as_seen",
    "identify",
    "inspect",
]
