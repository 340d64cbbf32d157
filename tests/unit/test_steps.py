"""Operations written once: both drivers send replies and errors to the steps that made the call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from visionq.sans_io import Item, each, items, items_async, run, run_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from visionq.sans_io import Steps


def double(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return 2 * number


async def double_async(number: int) -> int:
    await asyncio.sleep(0)
    return double(number)


def added(call: Callable[[int], Any], *numbers: int) -> Steps[int]:
    total = 0
    for number in numbers:
        try:
            total += yield call(number)
        except ValueError:
            total -= 1
    return total


def test_replies_and_errors() -> None:
    """An operation gets the reply of each call, and can catch its error, with either client."""
    assert run(added(double, 1, -5, 2)) == 5
    assert asyncio.run(run_async(added(double_async, 1, -5, 2))) == 5


def failing(call: Callable[[int], Any]) -> Steps[None]:
    yield call(-1)


async def test_uncaught_errors() -> None:
    """An error that the operation does not catch is the caller's."""
    with pytest.raises(ValueError, match="-1"):
        run(failing(double))
    with pytest.raises(ValueError, match="-1"):
        await run_async(failing(double_async))


async def test_cancellation_reaches_the_operation() -> None:
    """Cancelling an asyncio operation runs its `finally`, and stays a cancellation."""
    left: list[bool] = []

    def waiting() -> Steps[None]:
        try:
            yield asyncio.sleep(60)
        finally:
            left.append(True)

    task = asyncio.create_task(run_async(waiting()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left == [True]


def counted(call: Callable[[int], Any], left: list[bool]) -> Steps[None]:
    try:
        for number in range(10):
            yield Item((yield call(number)))
    finally:
        left.append(True)


async def test_items() -> None:
    """Items go to the caller, and an operation ends when its caller wants no more of them."""
    left: list[bool] = []
    assert list(items(counted(double, left))) == list(range(0, 20, 2))
    found = items(counted(double, left))
    assert [next(found), next(found)] == [0, 2]
    found.close()
    later = items_async(counted(double_async, left))
    assert [await anext(later), await anext(later)] == [0, 2]
    await later.aclose()
    assert left == [True] * 3


async def test_each() -> None:
    """Values come from an iterable of either kind."""

    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    assert [one async for one in each(numbers())] == [one async for one in each([1, 2])]
