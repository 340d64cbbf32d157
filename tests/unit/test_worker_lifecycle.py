"""How a worker process is put together, and what ends it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from visionq.blobs import AsyncRedisBlobs
from visionq.multiplexed_redis import MultiplexedRedis
from visionq.names import QUEUE_BULK, QUEUE_INTAKE, QUEUE_INTERACTIVE
from worker.celery import lifecycle
from worker.runtime import build_runtime

if TYPE_CHECKING:
    from worker.runtime import Runtime

QUEUES = (QUEUE_INTERACTIVE, QUEUE_BULK, QUEUE_INTAKE, "celery")


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A process that is asked to end; what it did about it."""
    done: list[str] = []
    process = SimpleNamespace(drain=lambda: done.append("drain"), stop=lambda: done.append("stop"))
    monkeypatch.setattr(lifecycle._Process, "runtime", process)
    monkeypatch.setattr(lifecycle._Process, "asked_at", None)
    monkeypatch.setattr(lifecycle, "_end_now", lambda: done.append("end"))
    return done


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=50.0)
    monkeypatch.setattr(lifecycle, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def go_on(seconds: float) -> None:
        clock.now += seconds

    return go_on


def test_asked_once(ended: list[str]) -> None:
    """SIGTERM drains: jobs that run are waited for."""
    lifecycle._drain(sig="SIGTERM", how="Warm")
    assert ended == ["drain"]


@pytest.mark.parametrize(("first", "pause", "ends"), [("SIGINT", 1, False), ("SIGTERM", 3, True)])
def test_asked_again(
    ended: list[str], pass_time: Any, first: str, pause: float, *, ends: bool
) -> None:
    """A later SIGTERM ends the process; at once it is the same request, of its process group."""
    lifecycle._drain(sig=first, how="Warm")
    pass_time(pause)
    lifecycle._drain(sig="SIGTERM", how="Warm")
    assert ("end" in ended) is ends


def test_signals_without_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was never put together can be asked to end."""
    monkeypatch.setattr(lifecycle._Process, "runtime", None)
    monkeypatch.setattr(lifecycle._Process, "asked_at", None)
    lifecycle._drain(sig="SIGTERM")
    lifecycle._stop()


def test_a_worker_without_tools_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while the process is put together ends it: Celery would only log it."""

    def fail(*_: Any) -> None:
        raise ValueError("no such table")

    monkeypatch.setattr(lifecycle, "build_runtime", fail)
    app = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=QUEUES)))
    with pytest.raises(SystemExit) as ended:
        lifecycle._build(SimpleNamespace(app=app, concurrency=4))
    assert ended.value.code == 1


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A process that is put together; nothing of it connects before its first use."""
    monkeypatch.setenv("VISIONQ_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("PROXYAPI_BASE_URL", "http://127.0.0.1:1/openai/v1")
    monkeypatch.setenv("VISIONQ_LEASE", "20")
    return build_runtime(Celery("x", set_as_current=False), 300, QUEUES)


def test_registration(runtime: Runtime) -> None:
    """A process registers its slots, and of its queues those that carry hints."""
    assert runtime.registration.slots == 300
    assert runtime.registration.queues == (QUEUE_INTERACTIVE, QUEUE_BULK)


def test_connections(runtime: Runtime) -> None:
    """All jobs share a connection to Redis, and their pictures another."""
    ledger, blobs = runtime.dependencies.ledger, runtime.dependencies.blobs
    assert isinstance(ledger.redis, MultiplexedRedis)
    assert isinstance(blobs, AsyncRedisBlobs)
    assert isinstance(blobs._redis, MultiplexedRedis)
    assert blobs._redis is not ledger.redis


def test_the_heartbeat_does_not_wait_long(runtime: Runtime) -> None:
    """A silent connection costs the heartbeat a part of a lease: it has several tries in each."""
    pulse = runtime.heartbeat._ledger.redis.connection_pool.connection_kwargs
    assert pulse["socket_timeout"] <= 20 / 4
    assert runtime.heartbeat._ledger.options.lease == 20
