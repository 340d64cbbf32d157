"""`stream`: answers as they come, and no more jobs out than are asked for."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field

from tests.support.clients import Fleet
from visionq import AsyncClient, Client
from visionq.contract import ResultDocument
from visionq.errors import (
    IdempotencyConflict,
    InputFileNotFound,
    InvalidJob,
    JobFailed,
    VisionqError,
)
from visionq.redis_connection import connect
from visionq.sdk.typed import TypedResult
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


class Words(BaseModel):
    """What the fleet's answers look like, but for one that is too short for it."""

    words: list[str] = Field(min_length=2)


class Other(BaseModel):
    words: list[str]


TYPED: list[dict[str, Any]] = [
    {"prompt": "question 1", "images": [b"1"]},
    {"prompt": "short", "images": [b"2"]},
    {"prompt": "fail 3", "images": [b"3"]},
    {"prompt": "other", "images": [b"4"], "schema": Other},
]


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
            assert len(client._operations.listener._pending) == 0


async def test_every_job_ends_once_for_asyncio(redis_url: str) -> None:
    """Each job comes once with its own end, from an ordinary iterable too."""
    with Fleet(redis_url):
        async with AsyncClient(Settings(), redis_url) as client:
            ends = {
                job.id: end async for job, end in client.stream(rows([], iter(range(60))), window=8)
            }
    assert len(ends) == 60
    assert sum(isinstance(end, JobFailed) for end in ends.values()) == 6


def test_nothing(redis_url: str) -> None:
    """A stream of no jobs is empty."""
    with Client(Settings(), redis_url) as client:
        assert list(client.stream([])) == []


def check_typed(ends: list[tuple[Any, Any]]) -> None:
    parsed = {end.parsed.words[0]: end for _, end in ends if isinstance(end, TypedResult)}
    assert parsed.keys() == {"question"}
    assert isinstance(parsed["question"].parsed, Words)
    assert parsed["question"].cost_rub > 0
    errors = {end.code: end for _, end in ends if isinstance(end, VisionqError)}
    assert errors.keys() == {"invalid_output", "not_an_image"}
    assert errors["invalid_output"].text in ("answer to short", "answer to other")
    assert errors["invalid_output"].cost_rub > 0


def test_typed(redis_url: str) -> None:
    """With a model the answers are objects of it; one that it does not take ends no other."""
    with Fleet(redis_url), Client(Settings(), redis_url) as client:
        ends = list(client.stream(TYPED, schema=Words))
        check_typed(ends)
        check_typed(list(client.results([job for job, _ in ends], timeout=30, schema=Words)))
        (other,) = client.results([job for job, end in ends if is_other(end)], schema=Other)
    assert isinstance(other[1], TypedResult)
    assert other[1].parsed == Other(words=["other"])


async def test_typed_for_asyncio(redis_url: str) -> None:
    """The same holds for asyncio."""
    with Fleet(redis_url):
        async with AsyncClient(Settings(), redis_url) as client:
            ends = [one async for one in client.stream(TYPED, schema=Words)]
            check_typed(ends)
            jobs = [job for job, _ in ends]
            check_typed([one async for one in client.results(jobs, timeout=30, schema=Words)])


def is_other(end: object) -> bool:
    return isinstance(end, VisionqError) and end.text == "answer to other"


def broken_rows(folder: Path) -> list[Any]:
    """Rows of which every other one can't be submitted, each for a reason of its own."""
    return [
        {"prompt": "question 0", "images": [b"0"]},
        {"prompt": "?", "images": [folder / "absent.png"]},
        {"prompt": "question 2", "images": [b"2"]},
        "?",
        {"prompt": "question 4", "images": [b"4"], "idempotency_key": "one"},
        {"prompt": "another", "images": [b"4"], "idempotency_key": "one"},
        {"prompt": "question 6", "images": [b"6"]},
        {"prompt": "?", "images": [b"7"], "colour": "red"},
        *({"prompt": "?", "images": []} for _ in range(20)),
        {"prompt": "question 28", "images": [b"28"]},
    ]


def check_broken(ends: list[tuple[Any, Any]]) -> None:
    by_place = {job.position: end for job, end in ends}
    assert len(ends) == len(by_place) == 29
    answers = {place for place, end in by_place.items() if isinstance(end, ResultDocument)}
    assert answers == {0, 2, 4, 6, 28}
    kinds = {1: InputFileNotFound, 3: InvalidJob, 5: IdempotencyConflict, 7: InvalidJob}
    for place, kind in kinds.items():
        assert isinstance(by_place[place], kind), by_place[place]
    assert by_place[1].image.endswith("absent.png")


@pytest.mark.parametrize("window", [1, 3, 50])
async def test_what_cant_be_submitted_is_an_end_of_its_own(
    redis_url: str, tmp_path: Path, window: int
) -> None:
    """A row with a missing file or a wrong field ends in its error; all others are answered."""
    with Fleet(redis_url), Client(Settings(), redis_url) as client:
        check_broken(list(client.stream(broken_rows(tmp_path), window=window)))
    await _flush(redis_url)
    with Fleet(redis_url):
        async with AsyncClient(Settings(), redis_url) as native:
            found = native.stream(broken_rows(tmp_path), window=window)
            check_broken([pair async for pair in found])


async def test_rows_that_are_one_job(redis_url: str) -> None:
    """Rows of one idempotency key that are out together end once, as the first of them."""
    same = [{"prompt": "question", "images": [b"1"], "idempotency_key": "one"}] * 3
    with Fleet(redis_url), Client(Settings(), redis_url) as client:
        assert [(job.position, job.created) for job, _ in client.stream(same)] == [(0, True)]
    await _flush(redis_url)
    with Fleet(redis_url):
        async with AsyncClient(Settings(), redis_url) as native:
            found = [(job.position, job.created) async for job, _ in native.stream(same)]
    assert found == [(0, True)]


async def _flush(url: str) -> None:
    with connect(url, "tests") as redis:
        redis.flushall()


def test_submit_many_ends_at_what_cant_be_submitted(redis_url: str, tmp_path: Path) -> None:
    """Jobs before the one that is wrong are submitted, and rows after it are not even read."""
    read: list[int] = []

    def reading() -> Iterator[Any]:
        for place, row in enumerate(broken_rows(tmp_path)):
            read.append(place)
            yield row

    with Client(Settings(), redis_url) as client:
        jobs = client.submit_many(reading())
        first = next(jobs)
        assert (first.position, client.get(first).state) == (0, "queued")
        with pytest.raises(InputFileNotFound):
            next(jobs)
    assert read == [0, 1]
