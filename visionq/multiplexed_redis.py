"""One connection to Redis, shared by all tasks of an event loop.

Commands that tasks give in one turn of the loop go out in one write, and Redis answers in order: a
round trip costs a task no connection, and the loop few system calls.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from redis import asyncio as redis_asyncio
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

#: Seconds between two looks at how long the oldest command has waited.
_TICK: Final = 1.0
#: A ninth of the time that redis-py takes for a command of a script.
_PACK: Final = HiredisRespSerializer().pack


class MultiplexedRedis(redis_asyncio.Redis):
    """A client for commands and scripts of one event loop. No command may block in Redis.

    Its pool says how to connect and how often to try again, and serves pipelines.
    """

    _channel: _Channel | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # redis-py's
        """Send one command and return its reply."""
        channel = self._channel
        if channel is None:
            channel = self._channel = _Channel(self.connection_pool)
        reply = await channel.retry.call_with_retry(lambda: channel.ask(args), _do_nothing)
        callback = self.response_callbacks.get(args[0])
        options.pop("keys", None)
        return reply if callback is None else callback(reply, **options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close every connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        await super().aclose(close_connection_pool)


async def _do_nothing(_: Exception) -> None:
    """A broken connection has been dropped where it was noticed."""


class _Channel:
    """The connection, and the replies that are due on it."""

    def __init__(self, pool: redis_asyncio.ConnectionPool) -> None:
        options = pool.connection_kwargs
        self.retry: Retry = copy.deepcopy(options["retry"])
        self.retry.update_supported_errors(options.get("retry_on_error", ()))
        self._pool = pool
        self._patience: float = options["socket_timeout"]
        self._idle: float = options["health_check_interval"]
        self._loop = asyncio.get_running_loop()
        self._connection: AbstractConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._tick: asyncio.TimerHandle | None = None
        #: Commands for the next write.
        self._unsent: list[bytes] = []
        #: A reply each that is due, with the time at which its command was given.
        self._due: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._last_reply = 0.0
        self._is_closed = False

    async def ask(self, command: tuple[Any, ...]) -> Any:  # noqa: ANN401  # what Redis replies
        """Return the reply to a command; raises redis-py's errors."""
        while self._connection is None:
            if self._is_closed:  # a command that was out is tried again
                raise redis_errors.ConnectionError("the client was closed")
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._connect())
            # One task that gives up must not break off what others wait for.
            await asyncio.shield(self._connecting)
        return await self._give(command)

    def _give(self, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent += _PACK(*command)
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._due.append((reply, self._loop.time()))
        return reply

    def _write(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._connection is not None and self._connection._writer is not None:  # noqa: SLF001  # redis-py writes one command at a time
            self._connection._writer.writelines(unsent)  # noqa: SLF001  # likewise

    async def _connect(self) -> None:
        try:
            connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
            connection.retry = Retry(NoBackoff(), 0)  # who asks tries again
            await connection.connect()
        finally:
            self._connecting = None
        self._connection, self._last_reply = connection, self._loop.time()
        self._reading = self._loop.create_task(self._read(connection))
        self._tick = self._loop.call_later(self._pause, self._look)

    async def _read(self, connection: AbstractConnection) -> None:
        """Hand each reply to the command that is due for it, until the connection breaks."""
        try:
            while True:
                try:
                    reply = await connection.read_response(
                        timeout=math.inf, disconnect_on_error=False
                    )
                except redis_errors.ResponseError as error:
                    reply = error
                self._last_reply = self._loop.time()
                future, _ = self._due.popleft()
                if future.done():
                    continue  # its task was cancelled
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except Exception as error:  # noqa: BLE001  # no further reply can be read
            self._lose(connection, redis_errors.ConnectionError, str(error))

    @property
    def _pause(self) -> float:
        return min(_TICK, self._patience / 4)

    def _look(self) -> None:
        """Drop a connection whose replies fail to come; try one that has been idle."""
        connection, now = self._connection, self._loop.time()
        if connection is None:
            return
        if self._due and now - self._due[0][1] > self._patience:
            self._lose(connection, redis_errors.TimeoutError, "Timeout reading from Redis")
            return
        if not self._due and self._idle and now - self._last_reply > self._idle:
            self._give(("PING",)).add_done_callback(asyncio.Future.exception)
        self._tick = self._loop.call_later(self._pause, self._look)

    def _lose(
        self, connection: AbstractConnection, error: type[redis_errors.RedisError], text: str
    ) -> None:
        """Fail every command that is out."""
        if self._connection is not connection:
            return
        self._connection, self._unsent = None, []
        if self._tick is not None:
            self._tick.cancel()
        if self._reading is not None:
            self._reading.cancel()
        connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001  # `disconnect` is for a task, and waits
        due, self._due = self._due, deque()
        for future, _ in due:
            if not future.done():
                future.set_exception(error(text))

    async def close(self) -> None:
        """Close the connection; commands that are out fail."""
        self._is_closed = True
        if self._connecting is not None:  # TLS that is cancelled in its greeting leaves a socket
            await asyncio.wait([self._connecting])
        connection, reading = self._connection, self._reading
        if connection is None or reading is None:
            return
        writer = connection._writer  # noqa: SLF001  # redis-py lets go of it before it is closed
        self._lose(connection, redis_errors.ConnectionError, "the client was closed")
        if writer is not None:
            await asyncio.wait([reading, asyncio.ensure_future(writer.wait_closed())], timeout=1)
