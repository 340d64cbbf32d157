"""Memory that is freed goes back to the system: pictures are large, and come in bursts."""

from __future__ import annotations

import ctypes
from typing import Final

#: Parameters of glibc's `mallopt` (malloc.h), with their values. Left alone, glibc learns from
#: the first large picture to keep such blocks, in an arena for each thread: 900 MB where 400 do.
_PARAMETERS: Final = (
    (-3, 256_000),  # M_MMAP_THRESHOLD: blocks of so many bytes are given back at once
    (-1, 2_000_000),  # M_TRIM_THRESHOLD: so is the free end of the heap
    (-8, 2),  # M_ARENA_MAX: threads share two heaps; the interpreter's lock keeps them apart
)


def tune_malloc() -> bool:
    """Set up the allocator of this process; False where it is not glibc's."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in _PARAMETERS)
