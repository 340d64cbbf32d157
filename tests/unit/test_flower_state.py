"""Flower's memory of events, fed with events as workers send them."""

from __future__ import annotations

import gc
import time
import tracemalloc
from itertools import count
from typing import Any

import pytest

from monitoring.flower.flower_settings import CLIENT_NAME
from monitoring.flower.masking import HIDDEN, SilentInspector, SilentState

WORKER = "visionq-worker-1@here"
_CLOCK = count(1)
SUMMARY = "tenant=default model=gpt-6-luna pictures=1"


def event(kind: str, uuid: str = "job", hostname: str = WORKER, **fields: Any) -> dict[str, Any]:
    moment = time.time()
    common = {"timestamp": moment, "local_received": moment, "clock": next(_CLOCK), "pid": 1}
    return {"type": kind, "uuid": uuid, "hostname": hostname, "utcoffset": 0, **common, **fields}


def attempt(uuid: str = "job") -> list[dict[str, Any]]:
    received = event("task-received", uuid, name="visionq.analyze", args=SUMMARY, kwargs="{}")
    return [received | {"retries": 0}, event("task-started", uuid)]


def retry(reason: str) -> dict[str, Any]:
    traceback = f"Traceback\ncelery.exceptions.Retry: waiting: {reason}\n"
    return event("task-retried", exception="Retry(Retry(...), None, None)", traceback=traceback)


def see(state: SilentState, *events: dict[str, Any]) -> Any:
    for one in events:
        state.event(one)
    return state.tasks["job"]


@pytest.fixture
def state() -> SilentState:
    return SilentState(max_workers_in_memory=5, max_tasks_in_memory=100)


def test_retries_are_counted(state: SilentState) -> None:
    """A task shows how often it was retried and why it waits, also once it runs again."""
    task = see(state, *attempt(), retry("rate_limited"))
    assert (task.state, task.retries, task.exception) == ("RETRY", 1, "waiting: rate_limited")
    task = see(state, *attempt(), retry("provider_unavailable"), *attempt())
    assert (task.state, task.retries) == ("STARTED", 2)
    assert task.exception == "waiting: provider_unavailable"


def test_success_leaves_no_reason(state: SilentState) -> None:
    """A success shows its cost and its retries, and no longer why it waited."""
    result = "'completed cost_rub=0.3 cached=False'"
    done = event("task-succeeded", result=result, runtime=0.1)
    task = see(state, *attempt(), retry("rate_limited"), *attempt(), done)
    assert (task.state, task.retries, task.exception) == ("SUCCESS", 1, None)
    assert task.result == result.strip("'")
    assert task.args == SUMMARY


def test_cancelled_here(state: SilentState) -> None:
    """A job cancelled through Flower stays with the worker that had it, and makes no other."""
    task = see(state, *attempt(), event("task-revoked", hostname=CLIENT_NAME))
    assert task.state == "REVOKED"
    assert task.worker.hostname == WORKER
    assert list(state.workers) == [WORKER]


def test_strangers_are_forgotten(state: SilentState) -> None:
    """Callers and workers that come under ever new names take bounded memory, workers count on."""
    see(state, *attempt())
    for number in range(200):
        state.event(event("task-sent", hostname=f"caller-{number}@there"))
        state.event(event("worker-offline", hostname=f"worker-{number % 50}@there"))
        state.event(event("worker-heartbeat", hostname=WORKER, freq=2.0))
    assert len(state.counter) <= 10
    assert state.counter[WORKER]["task-received"] == 1
    workers = {labels[0] for labels in state.metrics.events._metrics}
    assert len(workers) <= 10


def test_tasks_are_bounded() -> None:
    """Flower keeps the newest tasks, ten thousand by setting, in about 7 kB each at most."""
    kept, seen = 300, 900
    state = SilentState(max_workers_in_memory=5, max_tasks_in_memory=kept)
    prompt = "{'prompt': '" + "x" * 1000 + "'}"

    def show(numbers: range) -> None:
        for number in numbers:
            uuid = f"00000000-0000-0000-0000-{number:012}"
            state.event(event("task-sent", uuid, "caller@there", kwargs=prompt))
            for one in attempt(uuid):
                state.event(one)
            state.event(event("task-succeeded", uuid, result=prompt, runtime=0.1))

    tracemalloc.start()
    try:
        show(range(seen))
        gc.collect()
        memory, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(state.tasks) == kept
    assert len(list(state.tasks_by_time())) <= kept * state.heap_multiplier
    assert memory / kept < 7_000


@pytest.mark.parametrize("method", ["active", "reserved", "scheduled"])
def test_inspection_is_masked(method: str) -> None:
    """The tasks that a worker holds are kept without what callers wrote."""
    inspector = SilentInspector(io_loop=None, capp=None, timeout=1)
    held = {"id": "1", "args": SUMMARY, "kwargs": {"prompt": "my secret"}}
    inspector._on_update(WORKER, method, [held])
    assert inspector.workers[WORKER][method] == [held | {"kwargs": HIDDEN}]
