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


class FairThreads:
    """Threads for one kind of work, shared fairly by tenants."""

    def __init__(self, name: str, threads: int) -> None:
        """Run at most `threads` pieces of work at a time."""
        self._threads = ThreadPoolExecutor(threads, name)
        self._shares = FairLimiter(threads)

    async def run(self, tenant: str, act: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401  # the arguments of `act`
        """Run a piece of work when it is the tenant's turn."""
        async with self._shares.lent(tenant):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(act, *arguments))

    def close(self) -> None:
        """Stop starting work."""
        self._threads.shutdown(cancel_futures=True)


#: Seconds that a cancelled task gets to end.
_PATIENCE: Final = 5.0


class DetachedTasks:
    """Tasks that outlive the requests that started them.

    The server ends a stream when its client hangs up, but not a call that waits without a stream.
    The end of a job must not depend on the form of the answer.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, waiting: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task beside the request."""
        task = asyncio.create_task(waiting)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """End all tasks."""
        await end_tasks(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the client has got it, or has hung up


async def end_tasks(tasks: Iterable[asyncio.Task[Any]], patience: float = _PATIENCE) -> None:
    """Cancel tasks until they have ended: a library may swallow one cancellation."""
    while left := {task for task in tasks if not task.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=patience)
