"""Celery's Redis transport, without its crashes and without work that hints do not need."""

from __future__ import annotations

import bz2
import lzma
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from kombu import compression
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import loads
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from visionq.dead_letters import BrokerMessage, Reason
from visionq.names import HINT_TASKS
from worker.celery import dead_letters

if TYPE_CHECKING:
    from collections.abc import Callable

_SCHEMES: Final = ("redis", "rediss")
#: Bytes; the largest document, with its pictures in base64 twice over, has fewer.
_LARGEST: Final = 128_000_000
#: How often, and seconds apart, a wait for messages is ended that may not have begun in Redis.
_UNBLOCK_ATTEMPTS: Final = 10
_UNBLOCK_INTERVAL: Final = 0.1

log = structlog.get_logger(__name__)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...


#: Content type of what a caller may have compressed → what unpacks it.
_DECOMPRESSORS: Final[dict[str, Callable[[], _Decompressor]]] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}


def _decompress(make: Callable[[], _Decompressor] | None, body: bytes) -> bytes:
    """Unpack a body, unless it would be larger than any document."""
    if make is None:
        raise ValueError("of compressed bodies, those by gzip, bzip2 and xz are read")
    decompressor = make()
    unpacked = decompressor.decompress(body, _LARGEST)
    if not decompressor.eof:
        raise ValueError(f"the compressed body is cut short, or has more than {_LARGEST:,} bytes")
    return unpacked


def _is_hint(message: Any) -> bool:  # noqa: ANN401  # kombu's message
    headers = message.headers  # of any kind, where a stranger wrote them
    task = headers.get("task") if isinstance(headers, dict) else None
    return isinstance(task, str) and task in HINT_TASKS


class QoS(redis.QoS):
    """Keeps no copy of a hint in Redis until it is acknowledged: the ledger brings it back."""

    def append(self, message: Any, delivery_tag: str) -> None:  # noqa: ANN401  # kombu's message
        """Record a received message."""
        if _is_hint(message):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message."""
        received = self._delivered
        message = received.get(delivery_tag) if received is not None else None
        if message is not None and _is_hint(message):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)


class Channel(redis.Channel):
    """A channel that reports its end as a connection error, which Celery survives."""

    QoS = QoS
    _kept_client: Any = None
    _in_poll: Any  # kombu's: the connection that waits for a message

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        # kombu 5.7 acknowledges and restores messages over a channel whose connection it has
        # dropped, and then stumbles over the `None` in its place.
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the channel belongs to a connection that is closed")
        found: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # stubs lack it
        return found

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401  # kombu's own class of client
        # kombu 5.7 reads anything in a queue as if a Celery client had written it. What it can't
        # read ends the worker, and the message is lost.
        kept = self._kept_client
        if not asynchronous and kept is not None and kept.connection_pool is self.pool:
            # kombu 5.7 makes a client for each command, at the price of the command itself.
            return kept
        client = super()._create_client(asynchronous)  # type: ignore[misc]  # stubs lack it
        client.set_response_callback("BRPOP", self._readable)
        if not asynchronous:
            self._kept_client = client
        return client

    def close(self) -> None:
        """Close, without waiting out `polling_interval` for a message that may not come."""
        if self._in_poll and self._in_poll.is_connected:
            self._end_poll(self._in_poll)
        super().close()

    def _end_poll(self, polling: Any) -> None:  # noqa: ANN401  # redis-py's connection
        """End the outstanding BRPOP now, with a message or as by its timeout.

        kombu 5.7 reads that answer when the channel closes; where it can't be hastened (an ACL
        without `client|unblock`) it comes by itself.
        """
        identity = (polling.handshake_metadata or {}).get(b"id")  # of HELLO, thus with RESP3
        if identity is None:
            return
        try:
            with self.conn_or_acquire() as client:
                for _ in range(_UNBLOCK_ATTEMPTS):
                    if polling.can_read(0) or client.client_unblock(identity):
                        return
                    polling.can_read(_UNBLOCK_INTERVAL)
        except (RedisError, OSError) as error:
            log.debug("broker.poll_not_ended", error=str(error))

    def _readable(self, reply: Any, **_: Any) -> Any:  # noqa: ANN401  # redis-py's signature
        """Return what was popped; keep it as a dead letter if it is no message."""
        if not reply:
            return reply
        key, raw = reply
        fault = self._fault_of(raw)
        if fault is None:
            return reply
        queue = key.decode().rsplit(self.sep, 1)[0]
        dead_letters.keep_dead_letter(BrokerMessage(queue, raw), *fault)
        return None

    def _fault_of(self, raw: bytes) -> tuple[Reason, str] | None:
        if len(raw) > _LARGEST:
            return Reason.TOO_LARGE, f"{len(raw):,} bytes"
        try:
            payload = loads(raw)
        except Exception as error:  # noqa: BLE001  # kombu's decoder runs on what a stranger wrote
            return Reason.NOT_JSON, type(error).__name__
        try:
            message = self.Message(payload, channel=self)
            _ = message.delivery_info["exchange"], message.delivery_info["routing_key"]
        except Exception as error:  # noqa: BLE001  # likewise
            return Reason.BROKEN_ENVELOPE, type(error).__name__
        return None


class Transport(redis.Transport):
    """The transport of such channels."""

    Channel = Channel


def register() -> None:
    """Have every connection of this process to a broker on Redis made by it.

    kombu's own decoders unpack any body, however large: a thousand times its size.
    """
    for scheme in _SCHEMES:
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
    for content_type in compression.encoders():
        encode = compression.get_encoder(content_type)[0]  # type: ignore[index]  # stubs have a function
        decode = partial(_decompress, _DECOMPRESSORS.get(content_type))
        compression.register(encode, decode, content_type)
