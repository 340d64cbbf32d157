"""An allowance of CPU time for what a caller's schema makes of an answer."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: CPU seconds of one thread for one answer; an ordinary one takes a millisecond.
SECONDS: Final = 1.0

_end: ContextVar[float] = ContextVar("allowance", default=float("inf"))


class ExhaustedError(Exception):
    """The allowance is used up."""


@contextmanager
def allowance(seconds: float = SECONDS) -> Iterator[None]:
    """Give this thread so much CPU time for what heeds `spend`."""
    token = _end.set(time.thread_time() + seconds)
    try:
        yield
    finally:
        _end.reset(token)


def spend() -> None:
    """Raise `ExhaustedError` when the allowance is used up."""
    if time.thread_time() > _end.get():
        raise ExhaustedError
