"""Check every request first: its id, key, rate, and the length of its body."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from producer.gateway.access import digest_of, find_key, scope_for
from producer.gateway.http_errors import ApiError, api_error_of, response_for
from visionq.errors import QueueUnavailable
from visionq.names import REQUEST_RATE
from visionq.redis_connection import as_queue_unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from producer.gateway.access import Key
    from producer.gateway.dependencies import Services

log = logging.getLogger(__name__)

#: Paths that need no key.
OPEN: Final = frozenset({"/healthz", "/openapi.json"})
#: Bytes of a multipart body besides its files.
_ENVELOPE: Final = 1_000_000
_MINUTE: Final = 60
_FILES: Final = "/v1/files"
#: Paths whose bodies may contain pictures; others have a few fields.
_WITH_PICTURES: Final = frozenset(
    {"/v1/responses", "/v1/chat/completions", "/v1/jobs", "/v1/quotes"}
)
_MOST_FIELDS: Final = 100_000


class Guard:
    """Lets in requests with a valid key, before anything of a body is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid.uuid4().hex}"
        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        services: Services = scope["app"].state.services
        try:
            if scope["path"] not in OPEN:
                key = await _authenticate(services, scope)
                await _count(services, key)
                state["key"] = key
            receive = _bounded(receive, scope, _most_bytes(services, scope))
        except ApiError as fault:
            await response_for(fault, scope["path"])(scope, receive, send_with_id)
            return
        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # uvicorn cuts calls that outlast its grace at the end
            log.info("call.cut path=%s", scope["path"])
            if not has_begun:
                error = api_error_of(QueueUnavailable("the gateway is stopping; ask again"))
                await response_for(error, scope["path"])(scope, receive, send_with_id)


async def _authenticate(services: Services, scope: Scope) -> Key:
    kind, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise ApiError(401, "invalid_api_key", "send a key: `Authorization: Bearer KEY`")
    secret = secret.strip()
    key = services.setup.own_keys.get(digest_of(secret))
    if key is None:
        with _redis():
            key = await find_key(services.redis, secret)
    if key is None:
        raise ApiError(401, "invalid_api_key", "unknown key; `visionq keys list` shows all keys")
    needed = scope_for(scope["method"], scope["path"])
    if needed not in key.scopes:
        raise ApiError(403, "missing_scope", f"key {key.id} does not have the scope {needed.value}")
    return key


@contextmanager
def _redis() -> Iterator[None]:
    """Turn errors of Redis into HTTP errors after which clients try again."""
    try:
        with as_queue_unavailable():
            yield
    except QueueUnavailable as error:
        raise api_error_of(error) from error


async def _count(services: Services, key: Key) -> None:
    """Count the request in the tenant's minute."""
    now = time.time()
    minute = int(now // _MINUTE)
    name = f"{REQUEST_RATE}{key.tenant}:{minute}"
    with _redis():
        async with services.redis.pipeline(transaction=False) as pipeline:
            pipeline.incr(name)
            pipeline.expire(name, 2 * _MINUTE)
            requests, _ = await pipeline.execute()
    most = services.gateway.requests_per_minute
    if requests > most:
        wait = (minute + 1) * _MINUTE - now
        message = f"tenant {key.tenant} may make {most:,} requests a minute"
        raise ApiError(429, "rate_limit_exceeded", message, retry_after=wait)


def _most_bytes(services: Services, scope: Scope) -> int:
    if scope["path"] == _FILES:
        return services.gateway.max_file_bytes + _ENVELOPE
    most = services.gateway.max_body_bytes
    return most if scope["path"] in _WITH_PICTURES else min(most, _MOST_FIELDS)


def _bounded(receive: Receive, scope: Scope, most: int) -> Receive:
    """Return a `receive` that fails beyond `most` bytes, with or without a given length.

    Raises:
        ApiError: the given length is too large.
    """
    message = f"the body has more than {most:,} bytes"
    length = Headers(scope=scope).get("content-length", "0")
    if length.isdecimal() and int(length) > most:
        raise ApiError(413, "body_too_large", message)
    seen = 0

    async def counted() -> Any:  # noqa: ANN401  # a message of ASGI
        nonlocal seen
        part = await receive()
        seen += len(part.get("body", b""))
        if seen > most:
            # FastAPI passes this exception on when it reads bodies.
            raise HTTPException(413, message)
        return part

    return counted
