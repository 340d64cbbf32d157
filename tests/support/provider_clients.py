"""The provider's clients, of threads and of the event loop, behind one signature."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest

from worker.provider.answer import read_answer
from worker.provider.provider_client import (
    ask,
    connection_error,
    make_async_client,
    make_client,
    read_reply,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from visionq.settings import Settings
    from worker.provider.answer import ProviderAnswer
    from worker.provider.reply import Reply
    from worker.provider.request import ProviderRequest

    #: Makes one call: `ask(request)`, with `on_reply` if given.
    Ask = Callable[..., ProviderAnswer]
    #: Opens a client by settings.
    Asking = Callable[[Settings], AbstractContextManager[Ask]]


@contextmanager
def in_threads(settings: Settings) -> Iterator[Ask]:
    """Open the client of threads, which in a worker asks for what is free and moves batches."""
    with make_client(settings) as client:
        yield partial(_ask, client)


def _ask(
    client: openai.OpenAI,
    request: ProviderRequest,
    *,
    clock: Callable[[], float] = time.time,
    on_reply: Callable[[Reply], None] = lambda _: None,
) -> ProviderAnswer:
    """Do as `ask` does in the event loop."""
    try:
        response = client.post(request.path, cast_to=httpx2.Response, content=request.body)
    except openai.APIStatusError as error:
        response = error.response
    except openai.APIConnectionError as error:
        raise connection_error(error.__cause__ or error) from error
    reply = read_reply(response)
    on_reply(reply)
    return read_answer(reply, request, now=clock())


async def _abort_connections() -> None:
    """End broken handshakes and requests that were given up, which aiohttp leaves open."""
    loop: Any = asyncio.get_running_loop()
    for transport in list(loop._transports.values()):
        if transport._loop is not None:  # else it has ended meanwhile
            transport.abort()
    await asyncio.sleep(0)


@contextmanager
def in_a_loop(settings: Settings) -> Iterator[Ask]:
    """Open the client of the event loop; the loop runs during calls alone."""
    client = make_async_client(settings)
    with asyncio.Runner() as runner:
        try:
            yield lambda request, **options: runner.run(ask(client, request, **options))
        finally:
            runner.run(client.close())
            runner.run(_abort_connections())


BOTH = [pytest.param(in_threads, id="threads"), pytest.param(in_a_loop, id="loop")]
