"""Waits for answers that may go on when their client hangs up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class Waits:
    """Tasks beside the requests that began them.

    The server ends what a stream does when its client hangs up. A call that waits without a stream
    is not ended; what becomes of its job must not depend on the form of the answer.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, waiting: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Wait beside the request."""
        task = asyncio.create_task(waiting)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Wait no longer."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to the client; or it has hung up, and nobody asks
