"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def until(
    holds: Callable[[], bool], seconds: float = 10, what: str | Callable[[], str] = "it"
) -> None:
    """Return once it holds; fails when that takes longer than `seconds`."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {seconds} s in vain for {text}")
        time.sleep(0.02)
