"""What kombu and Celery can't do yet; a test that fails names our code that can go."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from celery import Celery
from celery.worker.consumer import Consumer
from kombu import Connection
from kombu.transport import redis as stock
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.celery import transport as ours

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


def _channel_of_a_lost_connection(url: str, transport: type[stock.Transport]) -> Any:
    """Return a channel as an acknowledgement finds it after the connection to Redis broke."""
    connection = Connection(url, transport=transport)
    channel = connection.channel()
    connection.collect()
    return channel


def test_stock_channels_stumble_over_a_lost_connection(redis_url: str) -> None:
    """A fault in `Channel._connparams` of kombu ends a Celery worker."""
    channel = _channel_of_a_lost_connection(redis_url, stock.Transport)
    with pytest.raises(AttributeError, match="'NoneType' object"):
        channel._connparams()


def test_our_channels_tell_that_the_connection_is_lost(redis_url: str) -> None:
    """The same is reported as an error of the connection, after which Celery connects again."""
    channel = _channel_of_a_lost_connection(redis_url, ours.Transport)
    with pytest.raises(RedisConnectionError):
        channel._connparams()
    assert RedisConnectionError in ours.Transport(Connection(redis_url)).connection_errors


@pytest.mark.parametrize("raw", [b"no JSON", b"[]", b'{"body": "e30="}'])
def test_stock_channels_lose_what_they_cannot_read(
    redis: Redis, redis_url: str, raw: bytes
) -> None:
    """A message that kombu can't read leaves the queue and raises: `Channel._readable`."""
    redis.lpush("stock", raw)
    with Connection(redis_url, transport=stock.Transport) as connection:
        channel: Any = connection.channel()
        consumed = channel.basic_consume("stock", no_ack=True, callback=print, consumer_tag="one")
        assert consumed is None
        with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
            connection.drain_events(timeout=2)
    assert redis.llen("stock") == 0


def _stock_consumer(app: Celery) -> Any:
    """Return what of Celery's own consumer looks at a message, without the rest of a worker."""
    consumer: Any = Consumer.__new__(Consumer)
    consumer.app, consumer.strategies, consumer.on_task_message = app, {}, set()
    consumer.event_dispatcher = consumer.call_soon_ack = None
    consumer.connection_errors = ()
    return consumer


@pytest.fixture
def consumer(redis_url: str) -> Iterator[Any]:
    with Celery("stock", backend=redis_url, set_as_current=False) as app:
        yield _stock_consumer(app)


@pytest.mark.parametrize("headers", [{"task": [], "id": "a"}, {"task": "shop.resize"}])
def test_stock_consumers_stumble_over_odd_headers(consumer: Any, headers: dict[str, Any]) -> None:
    """An exception of the message handler ends the worker: `Consumer.create_task_handler`."""
    message = Mock(headers=headers, payload=[[], {}, {}])
    with pytest.raises((TypeError, LookupError)):
        consumer.create_task_handler()(message)


@pytest.mark.parametrize(
    "headers", [None, {"task": "shop.resize", "id": "a"}], ids=["no headers", "unknown task"]
)
def test_stock_consumers_drop_what_they_have_no_task_for(
    consumer: Any, headers: dict[str, Any] | None
) -> None:
    """Such a message is refused, which on Redis is its end: `Consumer._set_aside`."""
    message = Mock(headers=headers, payload=[[], {}, {}], properties={}, delivery_info={})
    message.body = b"[[], {}, {}]"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it is about to do
        consumer.create_task_handler()(message)
    message.reject_log_error.assert_called_once()


def test_stock_channels_make_a_client_for_each_command(redis_url: str) -> None:
    """Which costs as much as the command itself: `Channel._create_client`."""
    with Connection(redis_url, transport=stock.Transport) as connection:
        channel: Any = connection.channel()
        assert channel._create_client() is not channel._create_client()
    with Connection(redis_url, transport=ours.Transport) as connection:
        kept: Any = connection.channel()
        assert kept._create_client() is kept._create_client()
