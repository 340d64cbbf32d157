"""Celery's Redis transport, without its crashes and with less work for hints."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import zlib
from functools import partial
from queue import Empty
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from kombu import compression
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import dumps, loads
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from visionq.dead_letters import BrokerMessage, Reason
from visionq.ledger.scripts import script_text
from visionq.names import HINT_QUEUES, HINT_TASKS, QUEUE_WEBHOOKS
from worker.celery import dead_letters
from worker.celery.canvas import MARKS
from worker.redis_retry import retry_until_redis_returns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SCHEMES: Final = ("redis", "rediss")
#: Bytes; the largest document, with its pictures in base64 twice over, has fewer.
_LARGEST: Final = 128_000_000
#: How often, and seconds apart, a wait for messages is ended that may not have begun in Redis.
_UNBLOCK_ATTEMPTS: Final = 10
_UNBLOCK_INTERVAL: Final = 0.1
#: Takes several messages at a time.
_TAKE: Final = script_text("take_messages")
_TAKE_SHA: Final = hashlib.sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()
#: Queues whose messages have no priority: only the dispatcher writes to them.
_UNRANKED: Final = frozenset({*HINT_QUEUES, QUEUE_WEBHOOKS})

#: Seconds for which a message of a canvas waits for a Redis that is away.
_PATIENCE: Final = 20.0
#: Seconds; longer than a delivery is tried.
_MARK_TTL: Final = 2 * 86400

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
        raise ValueError("only compression by gzip, bzip2 and xz is supported")
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
    #: Returns how many messages may be taken now. Without it they come one by one.
    free_places: Callable[[], int] | None = None
    #: More messages lie in the queues, as far as is known.
    _has_more = False
    _is_taking = False
    _has_script = False
    _kept_client: Any = None
    _in_poll: Any  # kombu's: the connection that waits for a message
    # Likewise kombu's, which its stubs lack:
    _queue_cycle: Any
    _q_for_pri: Callable[[str, int], str]
    _flush_brpop_reauth: Callable[[], None]
    connection_errors: tuple[type[Exception], ...]

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:  # noqa: ANN401  # kombu's message
        marks = MARKS.get()
        if marks is None:
            super()._put(queue, message, **kwargs)
            return
        priority = self._get_message_priority(message, reverse=False)
        key = self._q_for_pri(queue, priority)
        arguments = ("", next(marks), _MARK_TTL, key, dumps(message))

        def send() -> None:
            with self.conn_or_acquire() as client:
                client.eval(script_text("send_once"), 0, *arguments)

        # Celery fails a chord for good where it can't send the body.
        retry_until_redis_returns(send, sleep, _PATIENCE)

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

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Wait for a message; while more lie there, take as many as there are places."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        places = self.free_places() if self.free_places and self._has_more else 0
        if places < 1 or not queues:
            super()._brpop_start(timeout)  # type: ignore[misc]  # stubs lack it
            return
        lists = [
            self._q_for_pri(queue, step)
            for step in self.priority_steps
            for queue in queues
            if step == self.priority_steps[0] or queue not in _UNRANKED
        ]
        if not self._has_script:
            with self.conn_or_acquire() as client:
                client.script_load(_TAKE)
            self._has_script = True
        connection = self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        self._is_taking = True
        connection.send_command("EVALSHA", _TAKE_SHA, 0, places, *lists)

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401  # kombu's signature
        if self._is_taking:
            return self._take()
        self._has_more = False
        found = super()._brpop_read(**options)  # type: ignore[misc]  # stubs lack it
        self._has_more = True
        return found

    def _take(self) -> bool:
        self._is_taking = self._has_more = False
        connection = self.client.connection
        try:
            taken: list[bytes] = connection.read_response()
        except NoScriptError:
            self._has_script = False
            taken = []
        except ResponseError as error:
            # Rules of an older release, perhaps, which let workers take one by one.
            log.warning("broker.messages_not_taken", error=str(error))
            self.free_places = None
            taken = []
        except self.connection_errors:
            connection.disconnect()
            raise
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()
        for key, raw in zip(taken[::2], taken[1::2], strict=True):
            readable = self._readable((key, raw))
            if readable:
                queue = key.decode().rsplit(self.sep, 1)[0]
                self._queue_cycle.rotate(queue)
                self.connection._deliver(loads(raw), queue)  # noqa: SLF001  # as kombu does
        self._has_more = bool(taken)
        if not taken:
            raise Empty
        return True

    def hint_form(self, queue: str, body: str, **properties: Any) -> str:  # noqa: ANN401  # as `prepare_message`
        """Return a message as it lies in its queue, for `push`."""
        message = self.prepare_message(body, **properties)
        self._inplace_augment_message(message, "", queue)
        return dumps(message)

    def push(self, queue: str, messages: Sequence[str]) -> None:
        """Put messages into a queue by one command."""
        with self.conn_or_acquire() as client:
            client.lpush(queue, *messages)

    def _readable(self, reply: Any, **_: Any) -> Any:  # noqa: ANN401  # redis-py's signature
        """Return the popped message; keep an unreadable one as a dead letter."""
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
    """Register this transport for every Redis broker connection of the process.

    kombu's own decoders unpack any body, however large: a thousand times its size.
    """
    for scheme in _SCHEMES:
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
    for content_type in compression.encoders():
        encode = compression.get_encoder(content_type)[0]  # type: ignore[index]  # stubs have a function
        decode = partial(_decompress, _DECOMPRESSORS.get(content_type))
        compression.register(encode, decode, content_type)
