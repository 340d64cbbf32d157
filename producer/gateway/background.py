"""Work beside the event loop: threads shared fairly by tenants, tasks that outlive a request."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from visionq.fair_limiter import FairLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

T = TypeVar("T")


class Turns:
    """Threads for one kind of work."""

    def __init__(self, name: str, threads: int) -> None:
        """Do so many pieces of it at a time."""
        self._threads = ThreadPoolExecutor(threads, name)
        self._shares = FairLimiter(threads)

    async def run(self, tenant: str, act: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401  # whatever it takes
        """Do a piece of it, in the tenant's turn."""
        async with self._shares.lent(tenant):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(act, *arguments))

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(cancel_futures=True)


#: Seconds that a cancelled task gets for its leave.
_PATIENCE: Final = 5.0


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
        await end_tasks(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to the client; or it has hung up, and nobody asks


async def end_tasks(tasks: Iterable[asyncio.Task[Any]], patience: float = _PATIENCE) -> None:
    """Cancel tasks until they have ended: one cancellation may get lost in a library."""
    while left := {task for task in tasks if not task.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=patience)
