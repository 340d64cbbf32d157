"""Connections that bring one answer for each request, and end in time.

httpcore2 2.16 keeps bytes that come behind an answer and takes them for the answer to whatever is
asked next on that connection: the picture, or the paid answer, of another job.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from worker.deadlines import TimedBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpcore2
    import httpx2


def harden(client: httpx2.Client) -> None:
    """Let every connection of the client heed the deadline of its thread, and keep no bytes."""
    # There is no public way in (httpx2 2.16); tests with real sockets hold this one.
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001  # see above
        pool = getattr(transport, "_pool", None)
        if pool is not None:  # a test's transport has none
            pool._network_backend = TimedBackend(pool._network_backend)  # noqa: SLF001  # see above
            close_if_bytes_are_left(pool)


def close_if_bytes_are_left(pool: httpcore2.ConnectionPool) -> None:
    """Never reuse a connection that brought more than the answer.

    The pool itself closes one with bytes that it has not read yet.
    """
    pool.create_connection = partial(_create, pool.create_connection)  # type: ignore[method-assign]  # of this one pool


def _create(
    create: Callable[[httpcore2.Origin], httpcore2.ConnectionInterface], origin: httpcore2.Origin
) -> httpcore2.ConnectionInterface:
    connection = create(origin)
    expired = connection.has_expired

    def has_expired() -> bool:
        return expired() or _has_bytes_left(connection)

    connection.has_expired = has_expired  # type: ignore[method-assign]  # asked before every reuse
    return connection


def _has_bytes_left(connection: httpcore2.ConnectionInterface) -> bool:
    if not connection.is_idle():
        return False
    inner: object = connection  # the connections to a host, and through a proxy, wrap one
    while (wrapped := getattr(inner, "_connection", None)) is not None:
        inner = wrapped
    http1 = getattr(inner, "_h11_state", None)
    return http1 is not None and bool(http1.trailing_data[0])
