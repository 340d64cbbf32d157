"""Answers as server-sent events. The model's words come in one piece, once the job has ended.

Nothing here costs a thread: a stream that waits is a task or two, and all of them hear of the ends
of jobs over one connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import StreamingResponse

from producer.gateway.faults import Fault, error_body, fault_behind
from producer.gateway.job_service import wait_and_look
from producer.gateway.openai.chat import completion_of, not_yet
from producer.gateway.openai.chunks import chunks_of
from producer.gateway.openai.events import error_event, events_before_end, events_of_end
from visionq.contract import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from producer.gateway.job_service import Standing
    from producer.gateway.openai.events import Event
    from producer.gateway.services import Services

log = logging.getLogger(__name__)

#: Seconds that a stream waits before it begins: what fails within them is told by its status.
_BEGIN_AFTER: Final = 2.0
_KEEP_ALIVE: Final = b": keep-alive\n\n"
_DONE: Final = b"data: [DONE]\n\n"
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}

#: How OpenAPI's document has a route that streams when it is asked to.
STREAMS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The answer; with `stream: true` as OpenAI's events, in one piece",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "event": {"type": "string"},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                    "required": ["data"],
                }
            }
        },
    }
}


async def ended_soon(waiting: asyncio.Task[Standing]) -> Standing | None:
    """Return how the job has ended, or None: the stream begins; raises what has ended the wait."""
    done, _ = await asyncio.wait({waiting}, timeout=_BEGIN_AFTER)
    return waiting.result() if done else None


def stream_response(
    services: Services, standing: Standing, waiting: asyncio.Task[Standing]
) -> StreamingResponse:
    """Return the events of a response that a call waits for."""
    return _as_events(_events(services, standing, waiting, background=False))


def follow_response(
    services: Services, standing: Standing, starting_after: int = -1
) -> StreamingResponse:
    """Return the events of a response, but for those up to a number, until it has ended."""

    async def followed() -> AsyncIterator[bytes]:
        longest = services.gateway.longest_wait
        patience = wait_and_look(services, standing, longest, when_parked=True)
        waiting = services.waits.begin(patience)
        events = _events(services, standing, waiting, starting_after, background=True)
        try:
            async for event in events:
                yield event
        finally:
            waiting.cancel()

    return _as_events(followed())


def stream_completion(
    services: Services, waiting: asyncio.Task[Standing], *, with_usage: bool
) -> StreamingResponse:
    """Return the chunks of a completion."""

    async def told() -> AsyncIterator[bytes]:
        async for comment in _signs_of_life(services, waiting):
            yield comment
        try:
            completion = completion_of(waiting.result())
        except Exception as error:  # noqa: BLE001  # told and logged
            yield _data(error_body(_fault(error)))
            return
        for chunk in chunks_of(completion, with_usage=with_usage):
            yield _data(chunk)
        yield _DONE

    return _as_events(told())


async def _events(
    services: Services,
    standing: Standing,
    waiting: asyncio.Task[Standing],
    starting_after: int = -1,
    *,
    background: bool,
) -> AsyncIterator[bytes]:
    for event in events_before_end(standing, background=background):
        if event["sequence_number"] > starting_after:
            yield _event(event)
    async for comment in _signs_of_life(services, waiting):
        yield comment
    try:
        events = _end(waiting.result(), background=background)
    except Exception as error:  # noqa: BLE001  # told and logged
        events = [error_event(_fault(error))]
    for event in events:
        if event["sequence_number"] > starting_after or event["type"] == "error":
            yield _event(event)


def _end(standing: Standing, *, background: bool) -> list[Event]:
    """Return the events of the end; raises `Fault` where the job goes on, or was cancelled."""
    view = standing.view
    if view.state is State.CANCELLED:
        raise Fault(409, "cancelled", f"response {view.id} was cancelled")
    if not view.state.is_terminal:
        raise not_yet(standing)
    return events_of_end(standing, background=background)


async def _signs_of_life(
    services: Services, waiting: asyncio.Task[Standing]
) -> AsyncIterator[bytes]:
    """Yield a comment now and then until the wait has ended."""
    while not (await asyncio.wait({waiting}, timeout=services.gateway.keep_alive))[0]:
        yield _KEEP_ALIVE


def _fault(error: Exception) -> Fault:
    """Return how a client is told of an error; what nobody foresaw is logged too."""
    fault = fault_behind(error)
    if fault.code == "internal_error":
        log.error("stream.failed", exc_info=error)
    return fault


def _event(event: Event) -> bytes:
    return f"event: {event['type']}\n".encode() + _data(event)


def _data(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # Half a surrogate pair can't be written; it stays escaped.
    return b"data: " + text.encode("utf-8", "backslashreplace") + b"\n\n"


def _as_events(text: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(text, media_type="text/event-stream", headers=_HEADERS)
