"""`stream`: answers as they come, and no more jobs out than are asked for."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.sdk_kit import Fleet
from visionq import AsyncClient, Client
from visionq.contract import ResultDocument
from visionq.errors import InvalidJob, JobFailed
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def rows(read: list[int], numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        read.append(number)
        prompt = "fail" if number % 10 == 3 else f"question {number}"
        yield {"prompt": prompt, "images": [f"picture {number}".encode()]}


async def arows(read: list[int], numbers: Iterator[int]) -> AsyncIterator[dict[str, Any]]:
    for row in rows(read, numbers):
        yield row


def test_every_job_ends_once(redis_url: str) -> None:
    """Each job comes once with its own end, be it an answer or a failure."""
    with Fleet(redis_url), Client(Settings(), redis_url) as client:
        ends = dict(client.stream(rows([], iter(range(60))), window=8))
    assert len(ends) == 60
    failed = [end for end in ends.values() if isinstance(end, JobFailed)]
    answered = {end.text for end in ends.values() if isinstance(end, ResultDocument)}
    assert len(failed) == 6
    assert answered == {f"answer to question {n}" for n in range(60) if n % 10 != 3}


@pytest.mark.parametrize("window", [1, 8])
def test_an_endless_source(redis_url: str, window: int) -> None:
    """No more rows are read than answers were taken and the window holds."""
    read: list[int] = []
    with Fleet(redis_url), Client(Settings(), redis_url) as client:
        for taken, _ in enumerate(client.stream(rows(read, count()), window=window), 1):
            assert len(read) <= taken + window
            if taken == 30:
                break


@pytest.mark.parametrize("window", [1, 8])
async def test_an_endless_source_for_asyncio(redis_url: str, window: int) -> None:
    """The same holds for asyncio, and leaving early leaves nothing behind that listens."""
    read: list[int] = []
    with Fleet(redis_url):
        async with AsyncClient(Settings(), redis_url) as client:
            stream = client.stream(arows(read, count()), window=window)
            taken = 0
            async for job, end in stream:
                taken += 1
                assert len(read) <= taken + window
                assert isinstance(end, ResultDocument | JobFailed)
                assert job.id
                if taken == 30:
                    break
            await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
            assert len(client._listener._pending) == 0


async def test_every_job_ends_once_for_asyncio(redis_url: str) -> None:
    """Each job comes once with its own end, from an ordinary iterable too."""
    with Fleet(redis_url):
        async with AsyncClient(Settings(), redis_url) as client:
            ends = {
                job.id: end async for job, end in client.stream(rows([], iter(range(60))), window=8)
            }
    assert len(ends) == 60
    assert sum(isinstance(end, JobFailed) for end in ends.values()) == 6


def test_a_wrong_row_ends_it(redis_url: str) -> None:
    """A row that is no job ends the stream with its error; what is out goes on."""
    wrong = iter([{"prompt": "question", "images": [b"a"]}, {"prompt": "", "images": [b"b"]}])
    with (
        Fleet(redis_url),
        Client(Settings(), redis_url) as client,
        pytest.raises(InvalidJob, match="prompt"),
    ):
        list(client.stream(wrong))


def test_nothing(redis_url: str) -> None:
    """A stream of no jobs is empty."""
    with Client(Settings(), redis_url) as client:
        assert list(client.stream([])) == []
