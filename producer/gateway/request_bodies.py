"""Bodies that may contain pictures: read and parse them with bounded memory.

A process holds about three bodies of the largest size at a time, shared fairly by tenants. One of
them is parsed at a time, in a thread, so that other requests are answered meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from pydantic_core import from_json

from producer.gateway.background import FairThreads
from producer.gateway.http_errors import ApiError, invalid
from visionq.fair_limiter import FairLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from fastapi import Request

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

#: Bytes up to which a body does not queue.
_SMALL: Final = 100_000
#: Bodies of the largest size that are held at a time.
_HELD: Final = 3
#: Seconds for a body, plus its bytes at the least rate: slow clients would block others.
_PATIENCE: Final = 30.0
_LEAST_RATE: Final = 50_000
#: Elements of a JSON text that are always allowed; each takes the memory of about 16 bytes of text.
_FEW_ELEMENTS: Final = 250_000
_BYTES_OF_ELEMENT: Final = 16
_REFERENCE: Final = "#/components/schemas/{model}"


class Bodies:
    """The memory for bodies in a process."""

    def __init__(self, most: int) -> None:
        """Take bodies of at most `most` bytes."""
        self._most = most
        self._bytes = FairLimiter(_HELD * most)
        self.turns = FairThreads("bodies", 1)

    @asynccontextmanager
    async def room(self, request: Request, tenant: str) -> AsyncIterator[BodyMemory]:
        """Reserve memory for a request's body and its contents, waiting if necessary."""
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdecimal() else self._most
        room = BodyMemory(self, request, tenant, size)
        if room.is_small:
            yield room
            return
        async with self._bytes.lent(tenant, min(size, self._most)):
            yield room

    def close(self) -> None:
        """Stop starting work."""
        self.turns.close()


@dataclass(frozen=True)
class BodyMemory:
    """The memory for one body."""

    bodies: Bodies
    request: Request
    tenant: str
    size: int

    @property
    def is_small(self) -> bool:
        """Whether the body does not queue."""
        return self.size <= _SMALL

    async def body(self) -> bytes:
        """Return the body, of which no other copy is kept; raise as `read`."""
        return await self.read(_gathered(self.request))

    async def read(self, reading: Awaitable[T]) -> T:
        """Read the body or its form; raise `ApiError` if it comes too slowly."""
        try:
            async with asyncio.timeout(_PATIENCE + self.size / _LEAST_RATE):
                return await reading
        except TimeoutError:
            raise ApiError(
                408, "body_too_slow", "the body comes too slowly", may_retry=True
            ) from None

    async def work(self, act: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401  # the arguments of `act`
        """Process the body beside the event loop."""
        if self.is_small:
            return await asyncio.to_thread(act, *arguments)
        return await self.bodies.turns.run(self.tenant, act, *arguments)


async def _gathered(request: Request) -> bytes:
    gathered = bytearray()
    async for chunk in request.stream():
        gathered += chunk
    return bytes(gathered)


def parse_json(raw: bytes) -> Any:  # noqa: ANN401  # any JSON value
    """Parse JSON in memory of a few times its length; raise `ValueError`."""
    elements = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if elements > max(_FEW_ELEMENTS, len(raw) // _BYTES_OF_ELEMENT):
        raise ValueError("too many elements")
    return from_json(raw, allow_inf_nan=False, cache_strings="none")


def read_form(raw: bytes, form: type[M], status: int = HTTPStatus.BAD_REQUEST) -> M:
    """Parse a body as `form`; raise `ApiError` with `status` if it is not valid."""
    try:
        return form.model_validate(parse_json(raw))
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False), status) from None
    except ValueError as error:
        raise ApiError(status, "invalid_job", f"body: is not JSON: {error}", param="body") from None


def json_body(form: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI document of a route whose body is parsed by hand."""
    schema = {"$ref": _REFERENCE.format(model=form.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def schemas_of(forms: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Return the JSON Schemas of bodies, and of everything that they refer to."""
    _, schemas = models_json_schema(
        [(form, "validation") for form in forms], ref_template=_REFERENCE
    )
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions
