"""Celery's tasks in our pool: jobs in the event loop, others in threads."""

from __future__ import annotations

import asyncio
import select
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery.worker import state

from worker.celery import pool as module
from worker.celery.pool import TaskPool, result_of
from worker.event_loop import EventLoop

if TYPE_CHECKING:
    from collections.abc import Iterator


class Job:
    """A task with a coroutine, and what Celery would call for it."""

    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop
        self.may_end = threading.Event()
        self.running = 0
        self.most = 0
        self.accepted: list[str] = []
        self.replies: list[Any] = []

    async def coroutine(self, task_id: str) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.to_thread(self.may_end.wait)
        self.running -= 1
        if task_id == "bad":
            raise ValueError(task_id)
        return f"outcome of {task_id}"

    def trace(self, _name: str, task_id: str) -> tuple[int, str, float]:
        """Stand for Celery's tracer, which calls the body of the task."""
        try:
            return 0, result_of(self.coroutine, task_id, self.loop), 0.0
        except ValueError as error:
            return 1, f"failed: {error}", 0.0

    def apply(self, pool: TaskPool, task_id: str, name: str = "job") -> None:
        pool.apply_async(
            self.trace,
            (name, task_id),
            callback=self.replies.append,
            accept_callback=lambda _pid, _time: self.accepted.append(task_id),
        )


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[EventLoop]:
    loop = EventLoop(8)
    loop.start()
    monkeypatch.setattr(module, "runtime", lambda: SimpleNamespace(loop=loop))
    yield loop
    loop.stop()


@pytest.fixture
def job(loop: EventLoop) -> Job:
    return Job(loop)


@pytest.fixture
def pool(job: Job) -> TaskPool:
    tasks = {"job": SimpleNamespace(coroutine=job.coroutine), "other": SimpleNamespace()}
    pool = TaskPool(limit=3, app=SimpleNamespace(tasks=tasks))
    pool.start()
    return pool


def test_the_body_reports_what_was_awaited(pool: TaskPool, job: Job) -> None:
    """A job is accepted, awaited, and then reported to Celery, with its whole time."""
    job.apply(pool, "a")
    job.apply(pool, "bad")
    while len(job.accepted) < 2:
        time.sleep(0.005)
    time.sleep(0.05)
    job.may_end.set()
    pool.stop()
    replies = sorted(job.replies)
    assert [reply[:2] for reply in replies] == [(0, "outcome of a"), (1, "failed: bad")]
    assert all(seconds >= 0.05 for *_, seconds in replies)


def test_no_more_at_once_than_places(pool: TaskPool, job: Job) -> None:
    """Tasks beyond the places are not accepted before one is free."""
    assert pool.num_processes == pool.info["max-concurrency"] == 3
    for number in range(7):
        job.apply(pool, str(number))
    while job.running < 3:
        time.sleep(0.005)
    assert (len(job.accepted), pool.info["running"]) == (3, 7)
    job.may_end.set()
    pool.stop()
    assert (job.most, len(job.replies)) == (3, 7)


def test_stop_waits_for_jobs(pool: TaskPool, job: Job) -> None:
    """A warm shutdown takes as long as the jobs that run."""
    job.apply(pool, "a")
    stopping = threading.Thread(target=pool.stop)
    stopping.start()
    stopping.join(0.1)
    assert stopping.is_alive()
    job.may_end.set()
    stopping.join(10)
    assert job.replies
    assert not stopping.is_alive()


def test_other_tasks_run_in_threads(pool: TaskPool, job: Job) -> None:
    """A task without a coroutine may block: it runs in a thread, as in a pool of Celery's own."""
    job.may_end.set()
    job.apply(pool, "x", name="other")
    pool.stop()
    assert job.replies == [(0, "outcome of x", 0.0)]


def test_a_free_place_wakes_the_consumer(
    pool: TaskPool, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery does not poll while all places are taken: the end of a job makes it go on."""
    readers: list[Any] = []
    hub = SimpleNamespace(add_reader=lambda *reader: readers.append(reader))
    pool.register_with_event_loop(hub)
    ((file, read),) = readers
    job.may_end.set()
    for reserved, wakes in (((), False), (("a", "b", "c"), True)):
        monkeypatch.setattr(state, "reserved_requests", reserved)
        before = len(job.replies)
        job.apply(pool, "a")
        while len(job.replies) == before:
            time.sleep(0.005)
        pool._all_in.acquire()
        pool._all_in.wait_for(lambda: not pool._out)
        pool._all_in.release()
        assert _is_readable(file, 10 if wakes else 0.05) == wakes
        read()
        read()  # nothing is left to read
        assert not _is_readable(file)
    pool.stop()


def _is_readable(file: int, seconds: float = 0) -> bool:

    return bool(select.select([file], [], [], seconds)[0])
