"""How a worker's wait for messages ends: at once, and with every message where it was."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, suppress
from queue import Empty
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection, transport
from structlog.testing import capture_logs

from tests.integration.test_worker_process import working
from tests.support.waiting import until
from tests.support.warm_processes import running_simulator
from visionq.names import QUEUE_BULK, QUEUE_INTAKE, QUEUE_INTERACTIVE
from visionq.redis_url import celery_url
from worker.celery import dead_letters
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


# Several at a time --------------------------------------------------------------------------------


class Taking:
    """A channel that takes hints for a given number of places."""

    def __init__(self, channel: Any, places: int) -> None:
        self.got: list[str] = []
        self.channel = channel
        self.places = places
        channel.free_places = lambda: self.places
        for queue in (QUEUE_BULK, QUEUE_INTERACTIVE, QUEUE_INTAKE):
            channel.basic_consume(queue, no_ack=True, callback=self.keep, consumer_tag=queue)

    def keep(self, message: Any) -> None:
        self.got.append(message.properties["correlation_id"])
        self.places -= 1

    def turn(self) -> None:
        """Send a command and deliver what it brings."""
        self.channel.connection.cycle._register_BRPOP(self.channel)
        with suppress(Empty):
            self.channel._brpop_read()


@pytest.fixture
def taking(redis_url: str) -> Iterator[Taking]:
    with Connection(celery_url(redis_url)) as connection:
        yield Taking(connection.channel(), 3)


def send(redis: Redis, queue: str, *names: str) -> None:
    for name in names:
        properties = {
            "correlation_id": name,
            "delivery_tag": name,
            "delivery_info": {"exchange": "", "routing_key": queue},
        }
        message = {"body": "[]", "headers": {}, "properties": properties}
        redis.lpush(queue, json.dumps(message))


def test_hints_are_taken_together(redis: Redis, taking: Taking) -> None:
    """One command takes what lies in all queues, and never more than there are places."""
    send(redis, QUEUE_BULK, *"abcdef")
    taking.turn()
    assert taking.got == ["a"]
    taking.turn()
    assert taking.got == ["a", "b", "c"]
    assert redis.llen(QUEUE_BULK) == 3
    taking.places = 9
    send(redis, QUEUE_INTERACTIVE, "g")
    taking.turn()
    assert sorted(taking.got) == list("abcdefg")
    redis.config_resetstat()
    taking.turn()  # nothing lies there: the next one is waited for
    taking.turn()
    stats: Any = redis.info("commandstats")
    assert stats["cmdstat_brpop"]["calls"] == 1


def test_what_is_no_message_is_kept_apart(redis: Redis, taking: Taking, monkeypatch: Any) -> None:
    """A text among hints that no message can be made of is kept, and the others arrive."""
    kept: list[Any] = []
    monkeypatch.setattr(dead_letters, "keep_dead_letter", lambda *letter: kept.append(letter))
    send(redis, QUEUE_BULK, "a", "b")
    redis.lpush(QUEUE_BULK, "rubbish")
    send(redis, QUEUE_BULK, "c")
    taking.places = 9
    taking.turn()
    taking.turn()
    assert taking.got == ["a", "b", "c"]
    assert [letter[0].raw for letter in kept] == [b"rubbish"]


def test_messages_with_a_priority_are_found(redis: Redis, taking: Taking) -> None:
    """A plain caller's priority holds in the queue for documents, also while hints are taken."""
    send(redis, QUEUE_BULK, "a")
    taking.turn()
    send(redis, f"{QUEUE_INTAKE}\x06\x163", "document")
    taking.turn()
    assert taking.got == ["a", "document"]


def test_a_restarted_redis_gets_the_script_again(redis: Redis, taking: Taking) -> None:
    """A server without the script costs one turn, and no message."""
    send(redis, QUEUE_BULK, "a", "b", "c")
    taking.turn()
    taking.places = 1
    taking.turn()
    redis.script_flush()
    taking.places = 1
    for _ in range(3):
        taking.turn()
    assert taking.got == ["a", "b", "c"]


def test_rules_of_an_older_release_do(redis: Redis, redis_url: str) -> None:
    """A worker that may not take several takes one by one, and reports it once."""
    rules = ("on", "nopass", "~*", "&*", "+@all", "-rpop")
    redis.execute_command("ACL SETUSER", "older", *rules)  # type: ignore[no-untyped-call]
    send(redis, QUEUE_BULK, "a", "b", "c")
    url = celery_url(redis_url.replace("redis://", "redis://older:any@"))
    with capture_logs() as lines, Connection(url) as connection:
        taking = Taking(connection.channel(), 9)
        for _ in range(4):
            taking.turn()
    redis.acl_deluser("older")
    assert taking.got == ["a", "b", "c"]
    assert [line["event"] for line in lines] == ["broker.messages_not_taken"]


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
