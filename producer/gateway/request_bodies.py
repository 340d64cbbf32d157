"""Bodies that may hold pictures: read and taken apart in turn, and let go of once those are stored.

A process holds about three of the largest at a time, shared by tenants; one of them is worked on,
in a thread, so that other requests are answered meanwhile.
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

from producer.gateway.background import Turns
from producer.gateway.http_errors import Fault, invalid
from visionq.fair_limiter import FairLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from fastapi import Request

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

#: Bytes up to which a body is not worth standing in line for.
_SMALL: Final = 100_000
#: Bodies of the largest size that are held at a time.
_HELD: Final = 3
#: Seconds that a body may take, and bytes a second beyond: who is slower holds others up.
_PATIENCE: Final = 30.0
_LEAST_RATE: Final = 50_000
#: Elements of a JSON text: each takes memory about as 16 bytes of text may; so many are no matter.
_FEW_ELEMENTS: Final = 250_000
_BYTES_OF_ELEMENT: Final = 16
_REFERENCE: Final = "#/components/schemas/{model}"


class Bodies:
    """Room for bodies in a process."""

    def __init__(self, most: int) -> None:
        """Take bodies of at most so many bytes."""
        self._most = most
        self._bytes = FairLimiter(_HELD * most)
        self.turns = Turns("bodies", 1)

    @asynccontextmanager
    async def room(self, request: Request, tenant: str) -> AsyncIterator[Room]:
        """Give room for a request's body, and for what is made of it, when there is some."""
        told = request.headers.get("content-length", "")
        size = int(told) if told.isdecimal() else self._most
        room = Room(self, request, tenant, size)
        if room.is_small:
            yield room
            return
        async with self._bytes.lent(tenant, min(size, self._most)):
            yield room

    def close(self) -> None:
        """Begin nothing more."""
        self.turns.close()


@dataclass(frozen=True)
class Room:
    """Room for one body."""

    bodies: Bodies
    request: Request
    tenant: str
    size: int

    @property
    def is_small(self) -> bool:
        """Whether the body is not worth standing in line for."""
        return self.size <= _SMALL

    async def body(self) -> bytes:
        """Return the body, which nothing else keeps; raises as `read` does."""
        return await self.read(_gathered(self.request))

    async def read(self, reading: Awaitable[T]) -> T:
        """Read the body, or a form in it; raises `Fault` where it comes too slowly."""
        try:
            async with asyncio.timeout(_PATIENCE + self.size / _LEAST_RATE):
                return await reading
        except TimeoutError:
            raise Fault(408, "body_too_slow", "the body comes too slowly", may_retry=True) from None

    async def work(self, act: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401  # whatever it takes
        """Do something with what was read, beside the loop."""
        if self.is_small:
            return await asyncio.to_thread(act, *arguments)
        return await self.bodies.turns.run(self.tenant, act, *arguments)


async def _gathered(request: Request) -> bytes:
    gathered = bytearray()
    async for chunk in request.stream():
        gathered += chunk
    return bytes(gathered)


def parse_json(raw: bytes) -> Any:  # noqa: ANN401  # whatever JSON can say
    """Return what a JSON text says, in memory of a few times its length; raises `ValueError`."""
    elements = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if elements > max(_FEW_ELEMENTS, len(raw) // _BYTES_OF_ELEMENT):
        raise ValueError("too many elements")
    return from_json(raw, allow_inf_nan=False, cache_strings="none")


def read_form(raw: bytes, form: type[M], status: int = HTTPStatus.BAD_REQUEST) -> M:
    """Return a body that has to have a form; raises `Fault`, with `status`, where it has not."""
    try:
        return form.model_validate(parse_json(raw))
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False), status) from None
    except ValueError as error:
        raise Fault(status, "invalid_job", f"body: is not JSON: {error}", param="body") from None


def json_body(form: type[BaseModel]) -> dict[str, Any]:
    """Return what OpenAPI's document says of a route whose body is read by hand."""
    schema = {"$ref": _REFERENCE.format(model=form.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def schemas_of(forms: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Return the JSON Schemas of such bodies, and those that they refer to."""
    _, schemas = models_json_schema(
        [(form, "validation") for form in forms], ref_template=_REFERENCE
    )
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions
