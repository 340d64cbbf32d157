"""Celery's transport for Redis, cured of what ends a worker when Redis restarts."""

from __future__ import annotations

from typing import Any, Final

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError as RedisConnectionError

_SCHEMES: Final = ("redis", "rediss")


class Channel(redis.Channel):
    """A channel that tells its end as an error of the connection, which Celery survives."""

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        # kombu 5.7 acknowledges and restores messages over a channel whose connection it has
        # dropped, and then stumbles over the `None` in its place.
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the channel belongs to a connection that is closed")
        found: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # stubs lack it
        return found


class Transport(redis.Transport):
    """The transport of such channels."""

    Channel = Channel


def register() -> None:
    """Have every connection of this process to a broker on Redis made by it."""
    for scheme in _SCHEMES:
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
