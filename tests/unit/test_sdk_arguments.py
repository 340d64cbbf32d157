"""Arguments of both clients are checked before anything is sent, read or waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from visionq import AsyncClient, Client
from visionq.errors import InvalidJob
from visionq.sdk.arguments import check_timeout
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Nothing listens there: a question to Redis would be `QueueUnavailable`.
URL = "redis://127.0.0.1:9/0"
WRONG: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda client: client.submit_many("abc"), TypeError, "jobs: .* not str 'abc'"),
    (lambda client: client.submit_many({"prompt": "?"}), TypeError, "jobs: .* not dict"),
    (lambda client: client.submit_many(None), TypeError, "jobs: .* not NoneType"),
    (lambda client: client.stream(5), TypeError, "jobs: .* not int"),
    (lambda client: client.stream([], window="8"), TypeError, "window: .* not str '8'"),
    (lambda client: client.stream([], window=0), ValueError, "window: give at least 1"),
    (lambda client: client.stream([], schema=5), InvalidJob, "schema: "),
    (lambda client: client.results("abc"), TypeError, "jobs: .* not str 'abc'"),
    (lambda client: client.results([5]), TypeError, "job: .* not int"),
    (lambda client: client.results([], timeout="5"), TypeError, "timeout: .* not str '5'"),
    (lambda client: client.wait("a", timeout="5"), TypeError, "timeout: .* not str '5'"),
    (lambda client: client.wait("a", timeout=True), TypeError, "timeout: .* not bool"),
    (lambda client: client.wait("a", timeout=float("nan")), ValueError, "timeout: .* NaN"),
    (lambda client: client.wait(None), TypeError, "job: give a job or its id, not NoneType"),
    (lambda client: client.get("\ud800"), ValueError, "job: .* is not an id"),
    (lambda client: client.results(["\ud800"]), ValueError, "job: .* is not an id"),
    (lambda client: client.clear_budget(batch="\ud800"), ValueError, "batch: .* is not a batch"),
    (lambda client: client.clear_budget(batch=5), ValueError, "batch: 5 is not a batch's name"),
    (lambda client: client.get(b"a"), TypeError, "job: .* not bytes"),
    (lambda client: client.cancel(["a"]), TypeError, "job: .* not list"),
    (lambda client: client.analyze(b"a", "?", timeout=[]), TypeError, "timeout: .* not list"),
    (lambda client: client.submit(prompt=5, images=[b"a"]), InvalidJob, "prompt: must be a string"),
    (lambda client: client.submit(prompt="?", images="a"), InvalidJob, "images: give a list"),
    (lambda client: client.submit(prompt="?", images=[5]), InvalidJob, "images.0: .* not int"),
    (
        lambda client: client.submit(prompt="?", images=["ftp://a/b.jpg"]),
        InvalidJob,
        "images.0: give an address with http://, https:// or data:, not ftp://",
    ),
    (lambda client: client.submit(prompt="?", images=[b"a"], pictures=1), InvalidJob, "pictures: "),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_what_a_client_refuses(
    call: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    """The error names the argument, what was given, and what is wanted, when it is called."""
    with Client(Settings(), URL) as client, pytest.raises(error, match=message):
        call(client)


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
async def test_what_an_asyncio_client_refuses(
    call: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    """The same with `await`."""
    async with AsyncClient(Settings(), URL) as client:
        with pytest.raises(error, match=message):
            await call(client)


def test_a_wait_longer_than_clocks_hold() -> None:
    """Such a wait has no end, with any number."""
    for timeout in (10**400, 1e300, float("inf"), None):
        assert check_timeout(timeout) is None
    assert check_timeout(3600) == 3600


def _generated() -> Iterator[Any]:
    yield "abc"


def test_a_row_that_is_none() -> None:
    """A row is looked at when its turn comes, and its error is that of a job."""
    with Client(Settings(), URL) as client:
        jobs = client.submit_many(_generated())
        with pytest.raises(InvalidJob, match="keywords of `submit` as a mapping, not str 'abc'"):
            next(jobs)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_a_client_is_made_with(kind: Any) -> None:
    """An address in the place of the settings is an easy mistake, and reported as such."""
    with pytest.raises(TypeError, match=r"settings: .* redis_url=… .* not str 'redis:"):
        kind(URL)
    with pytest.raises(TypeError, match=r"redis_url: .* not bytes"):
        kind(redis_url=b"redis://")
