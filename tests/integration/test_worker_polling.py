"""How a worker's wait for messages ends: at once, and with every message where it was."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection, transport
from structlog.testing import capture_logs

from tests.integration.test_worker_process import working
from tests.support.warm_processes import running_simulator
from tests.support.worker import until
from visionq.names import QUEUE_INTAKE
from visionq.redis_url import celery_url
from worker.celery.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

#: Seconds that an idle wait lasts, far beyond those within which it must end here.
WAIT = 120
SOON = 20


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have kombu make connections by our transport, as `register` does for a whole process."""
    chosen: Any = transport
    for scheme in ("redis", "rediss"):
        monkeypatch.setitem(chosen._transport_cache, scheme, Transport)


@contextmanager
def waiting(url: str, seconds: int = WAIT) -> Iterator[Any]:
    """Yield a channel whose BRPOP is out, as that of an idle worker."""
    options = {"polling_interval": seconds}
    with Connection(celery_url(url), transport_options=options) as connection:
        channel: Any = connection.channel()
        channel.basic_consume(QUEUE_INTAKE, no_ack=False, callback=_ignore, consumer_tag="one")
        channel.connection.cycle.on_poll_start()
        assert channel._in_poll
        yield channel


def _ignore(message: object) -> None:
    """Neither acknowledge nor refuse it."""


def closing_time(channel: Any) -> float:
    begun = time.monotonic()
    channel.close()
    return time.monotonic() - begun


@pytest.mark.parametrize("kind", ["tcp", "unix-6.2", "tls"])
def test_a_wait_ends_at_once(request: pytest.FixtureRequest, kind: str) -> None:
    """A channel that closes does not wait for a message, over whichever connection."""
    names = {"tcp": "redis_url", "unix-6.2": "unix_url", "tls": "tls_url"}
    with waiting(request.getfixturevalue(names[kind])) as channel:
        assert closing_time(channel) < SOON


def test_no_message_is_lost(redis: Redis, redis_url: str) -> None:
    """A message published while the channel closes is in the queue afterwards, each once."""
    sent = 0
    with Connection(celery_url(redis_url)) as other, other.SimpleQueue(QUEUE_INTAKE) as queue:
        for turn in range(40):
            begun = threading.Event()

            def publish(begun: threading.Event = begun, turn: int = turn) -> None:
                for number in range(5):
                    queue.put(f"{turn}-{number}")
                    begun.set()

            with waiting(redis_url) as channel:
                publisher = threading.Thread(target=publish)
                publisher.start()
                if turn % 2:
                    begun.wait(SOON)
                assert closing_time(channel) < SOON
                publisher.join()
            sent += 5
            assert redis.llen(QUEUE_INTAKE) == sent
        got = [queue.get(block=False) for _ in range(sent)]
    assert len({message.payload for message in got}) == sent


@pytest.fixture
def without_unblock(redis: Redis, redis_url: str) -> Iterator[str]:
    """Yield the address of the same server for a user who may not unblock."""
    rules = ("on", "nopass", "~*", "&*", "+@all", "-client", "+client|setname")
    redis.execute_command("ACL SETUSER", "poller", *rules)  # type: ignore[no-untyped-call]
    yield redis_url.replace("redis://", "redis://poller:any@")
    redis.acl_deluser("poller")


def test_where_it_is_refused_the_wait_ends_by_itself(without_unblock: str) -> None:
    """An ACL without the command costs the rest of the wait, and a line for those who debug."""
    with capture_logs() as lines, waiting(without_unblock, seconds=2) as channel:
        assert 1 < closing_time(channel) < SOON
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("broker.poll_not_ended", "debug")
    assert "client" in line["error"]


def test_an_idle_worker_ends_its_wait(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    """A worker that is asked to end while it waits has Redis end the wait."""
    redis.config_resetstat()
    with (
        running_simulator() as simulator,
        working(redis_url, simulator, tmp_path) as worker,
    ):
        until(lambda: any(client["cmd"] == "brpop" for client in redis.client_list()), 100)
        worker.process.terminate()
        assert worker.process.wait(SOON) == 0
    commands: Any = redis.info("commandstats")
    assert any(name.startswith("cmdstat_client") and "unblock" in name for name in commands)
