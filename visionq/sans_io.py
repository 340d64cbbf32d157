"""Operations written once for blocking and asyncio clients: generators that yield their calls.

A step yields what a call returned: with a blocking client the reply, with an asyncio client an
awaitable of it. The driver sends the reply back, or throws its error into the operation.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Generator,
    Iterable,
)
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: An operation that returns `T`.
Steps = Generator[Any, Any, T]


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """A value for the caller, in an operation that yields some beside its calls."""

    value: T


def run(steps: Steps[T]) -> T:
    """Run an operation of a blocking client."""
    reply = None
    while True:
        try:
            reply = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result


def items(steps: Steps[None]) -> Generator[Any]:
    """Yield the items of an operation of a blocking client."""
    reply = None
    try:
        while True:
            try:
                reply = steps.send(reply)
            except StopIteration:
                return
            if isinstance(reply, Item):
                yield reply.value
                reply = None
    finally:
        steps.close()


async def run_async(steps: Steps[T]) -> T:
    """Run an operation of an asyncio client."""
    reply, error = None, None
    while True:
        try:
            call = steps.send(reply) if error is None else steps.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result
        reply, error = await _outcome(call)


async def items_async(steps: Steps[None]) -> AsyncGenerator[Any]:
    """Yield the items of an operation of an asyncio client."""
    reply, error = None, None
    try:
        while True:
            try:
                call = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration:
                return
            if isinstance(call, Item):
                yield call.value
                reply, error = None, None
            else:
                reply, error = await _outcome(call)
    finally:
        steps.close()


async def each(values: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    """Yield the values of an iterable of either kind."""
    if isinstance(values, AsyncIterable):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value


async def _outcome(call: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    try:
        return await call, None
    except BaseException as error:  # noqa: BLE001  # thrown into the operation, cancellation too
        return None, error
