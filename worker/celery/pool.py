"""The Celery pool in which jobs are tasks of one event loop; other Celery tasks run in threads.

Celery takes a pool by the name of its class (`worker_pool`, `-P`). Consumer, events, remote control
and Flower are Celery's own.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from celery.concurrency.base import BasePool, apply_target
from celery.worker import state

from worker.celery.lifecycle import runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from worker.event_loop import EventLoop

T = TypeVar("T")
log = structlog.get_logger(__name__)

#: Threads for tasks that are no jobs: they wait for Redis, or for a tenant's webhook.
_THREADS: Final = 32
#: Seconds for which places of a full pool are gathered: one command takes messages for all of them.
_GATHERED: Final = 0.005
#: Result or error of the coroutine that was awaited before the body of this task.
_awaited: ContextVar[tuple[Any, BaseException | None] | None] = ContextVar("awaited", default=None)


def result_of(
    coroutine: Callable[[str], Coroutine[Any, Any, T]], task_id: str, loop: EventLoop
) -> T:
    """Return the result of a task's coroutine, for its body.

    In a pool of Celery's own, which has not awaited it, run it now; the thread waits.
    """
    awaited = _awaited.get()
    if awaited is None:
        return loop.run(coroutine(task_id))
    result, error = awaited
    if error is not None:
        raise error
    known: T = result
    return known


class TaskPool(BasePool):
    """Awaits a task's `coroutine`, if it has one, in the event loop, and then runs its body there.

    The body says in Celery's words what came of it, and waits for nothing.
    """

    body_can_be_buffer = True
    signal_safe = False

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # Celery's signature
        super().__init__(*args, **options)
        self._threads = ThreadPoolExecutor(min(self.limit, _THREADS), "visionq-task")
        # Brokers whose messages Celery acknowledges early may deliver more than there are places.
        self._places = asyncio.Semaphore(self.limit)
        self._out = 0
        self._all_in = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_waking = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)

    def register_with_event_loop(self, hub: Any) -> None:  # noqa: ANN401  # kombu's
        """Let Celery's consumer ask for messages as soon as a place is free."""
        hub.add_reader(self._woken, self._on_woken)

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        callback: Any = None,  # noqa: ANN401  # Celery's
        accept_callback: Any = None,  # noqa: ANN401  # Celery's
        **_: Any,  # noqa: ANN401  # what other pools take
    ) -> None:
        """Begin a task."""
        coroutine = getattr(self.app.tasks[args[0]], "coroutine", None)
        if coroutine is None:
            self._threads.submit(apply_target, target, args, kwargs, callback, accept_callback)
            return
        with self._all_in:
            self._out += 1
        work = (coroutine, target, args, callback, accept_callback)
        runtime().loop.call_soon(self._begin, work)

    def _begin(self, work: tuple[Any, ...]) -> None:
        task = asyncio.get_running_loop().create_task(self._work(*work))
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._end)

    async def _work(
        self,
        coroutine: Callable[[str], Coroutine[Any, Any, Any]],
        target: Callable[..., Any],
        args: tuple[Any, ...],
        callback: Callable[..., Any],
        accept_callback: Callable[..., Any],
    ) -> None:
        async with self._places:
            started = time.monotonic()
            accept_callback(os.getpid(), started)
            try:
                _awaited.set((await coroutine(args[1]), None))
            except Exception as error:  # noqa: BLE001  # the body raises it, for Celery to see
                _awaited.set((None, error))

        def report(reply: Any) -> None:  # noqa: ANN401  # Celery's
            if isinstance(reply, tuple):
                failed, result, _ = reply
                reply = failed, result, time.monotonic() - started
            callback(reply)

        was_full = len(state.reserved_requests) >= self.limit
        apply_target(target, args, callback=report)
        if was_full and not self._is_waking:
            self._is_waking = True
            asyncio.get_running_loop().call_later(_GATHERED, self._wake_consumer)

    def _wake_consumer(self) -> None:
        self._is_waking = False
        with suppress(BlockingIOError):  # it is full of news already
            os.write(self._wake, b"1")

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("task.crashed", exc_info=error)
        with self._all_in:
            self._out -= 1
            if not self._out:
                self._all_in.notify_all()

    def _on_woken(self, *_: object) -> None:
        with suppress(BlockingIOError):
            os.read(self._woken, 4096)

    def on_stop(self) -> None:
        """Wait until all tasks have ended."""
        self._threads.shutdown(cancel_futures=True)
        with self._all_in:
            self._all_in.wait_for(lambda: not self._out)
        super().on_stop()

    def _get_info(self) -> dict[str, Any]:
        return {
            **super()._get_info(),  # type: ignore[misc]  # stubs lack it
            "max-concurrency": self.limit,
            "running": self._out,
        }
