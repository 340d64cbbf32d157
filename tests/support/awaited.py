"""Blocking objects made awaitable for what awaits them, and the other way round."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Awaited:
    """Makes the methods of a blocking object awaitable; each call is made at once."""

    def __init__(self, blocking: Any) -> None:
        self._blocking = blocking

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            return getattr(self._blocking, name)(*args, **options)

        return call


class InThreads:
    """Makes the methods of a blocking object awaitable: each call takes a thread."""

    def __init__(self, blocking: Callable[[], Any]) -> None:
        self._blocking = blocking

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            return await asyncio.to_thread(getattr(self._blocking(), name), *args, **options)

        return call


def at_once(never_waits: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that awaits nothing but `Awaited` objects."""
    try:
        never_waits.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits")
