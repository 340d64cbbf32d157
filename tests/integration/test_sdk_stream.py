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
from visionq.sdk.typed import TypedResult
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
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


async def _of_client(url: str, given: Iterable[Any], **options: Any) -> list[tuple[Any, Any]]:
    with Client(Settings(), url) as client:
        return list(client.stream(given, **options))


async def _of_async_client(url: str, given: Iterable[Any], **options: Any) -> list[tuple[Any, Any]]:
    async with AsyncClient(Settings(), url) as client:
        return [pair async for pair in client.stream(given, **options)]


@pytest.fixture(params=[_of_client, _of_async_client])
def stream(request: pytest.FixtureRequest, redis_url: str) -> Any:
    """Stream jobs by either client, to a fleet that answers; gives all that came."""

    async def streamed(given: Iterable[Any], **options: Any) -> list[tuple[Any, Any]]:
        with Fleet(redis_url):
            pairs: list[tuple[Any, Any]] = await request.param(redis_url, given, **options)
            return pairs

    return streamed


async def test_every_job_ends_once(stream: Any) -> None:
    """Each job comes once with its own end, be it an answer or a failure."""
    pairs = await stream(rows([], iter(range(60))), window=8)
    ends = {job.id: end for job, end in pairs}
    assert len(ends) == len(pairs) == 60
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


async def test_nothing(stream: Any) -> None:
    """A stream of no jobs is empty."""
    assert await stream([]) == []


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
    stream: Any, tmp_path: Path, window: int
) -> None:
    """A row with a missing file or a wrong field ends in its error; all others are answered."""
    check_broken(await stream(broken_rows(tmp_path), window=window))


async def test_rows_that_are_one_job(stream: Any) -> None:
    """Rows of one idempotency key that are out together end once, as the first of them."""
    same = [{"prompt": "question", "images": [b"1"], "idempotency_key": "one"}] * 3
    assert [(job.position, job.created) for job, _ in await stream(same)] == [(0, True)]


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
