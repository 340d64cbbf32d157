"""What kombu and Celery can't do yet; a test that fails says which piece of ours can go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection
from kombu.transport import redis as stock
from redis.exceptions import ConnectionError as RedisConnectionError

from worker import transport as ours

if TYPE_CHECKING:
    from redis import Redis


def _channel_of_a_lost_connection(url: str, transport: type[stock.Transport]) -> Any:
    """Return a channel as an acknowledgement finds it after the connection to Redis broke."""
    connection = Connection(url, transport=transport)
    channel = connection.channel()
    connection.collect()
    return channel


def test_stock_channels_stumble_over_a_lost_connection(redis_url: str) -> None:
    """What kombu answers with ends a Celery worker: `Channel._connparams`."""
    channel = _channel_of_a_lost_connection(redis_url, stock.Transport)
    with pytest.raises(AttributeError, match="'NoneType' object"):
        channel._connparams()


def test_our_channels_tell_that_the_connection_is_lost(redis_url: str) -> None:
    """The same is told as an error of the connection, after which Celery connects again."""
    channel = _channel_of_a_lost_connection(redis_url, ours.Transport)
    with pytest.raises(RedisConnectionError):
        channel._connparams()
    assert RedisConnectionError in ours.Transport(Connection(redis_url)).connection_errors


@pytest.mark.parametrize("raw", [b"no JSON", b"[]", b'{"body": "e30="}'])
def test_stock_channels_lose_what_they_cannot_read(
    redis: Redis, redis_url: str, raw: bytes
) -> None:
    """What kombu can't read it takes from the queue, and raises: `Channel._readable`."""
    redis.lpush("stock", raw)
    with Connection(redis_url, transport=stock.Transport) as connection:
        channel: Any = connection.channel()
        consumed = channel.basic_consume("stock", no_ack=True, callback=print, consumer_tag="one")
        assert consumed is None
        with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
            connection.drain_events(timeout=2)
    assert redis.llen("stock") == 0
