"""Answers as server-sent events, in OpenAI's order; the text comes in one piece at the end.

Events and their numbers follow from the response alone, so that a client whose connection broke
can resume the stream at any gateway. A waiting stream is a task or two and costs no thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import StreamingResponse

from producer.gateway.dependencies import event_stream
from producer.gateway.http_errors import ApiError, api_error_for, error_body
from producer.gateway.job_service import wait_and_read
from producer.gateway.openai.completion_objects import chunks_of, completion_of, not_yet
from producer.gateway.openai.response_objects import response_of
from visionq.contract import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from producer.gateway.dependencies import Services
    from producer.gateway.job_service import JobRecord

Event = dict[str, Any]

#: Number of the last event that comes before the end of the job.
LAST_BEFORE_END: Final = 1


def events_before_end(job: JobRecord, *, background: bool) -> list[Event]:
    """Return the first events, as for a job that has not ended."""
    if job.view.state.is_terminal:
        unended = {"state": State.IN_PROGRESS, "error": None, "reason": None, "finished_at": None}
        job = replace(job, view=job.view.model_copy(update=unended), result=None)
    created = response_of(job, background=background).model_dump(mode="json")
    return _numbered(
        [
            {"type": "response.created", "response": created},
            {"type": "response.in_progress", "response": {**created, "status": "in_progress"}},
        ],
        0,
    )


def events_of_end(job: JobRecord, *, background: bool) -> list[Event]:
    """Return the remaining events of a job that has ended and was not cancelled."""
    response = response_of(job, background=background).model_dump(mode="json")
    items = chain.from_iterable(_of_item(*each) for each in enumerate(response["output"]))
    end = {"type": f"response.{response['status']}", "response": response}
    return _numbered([*items, end], LAST_BEFORE_END + 1)


def error_event(fault: ApiError) -> Event:
    """Return the event of a stream that ends before the response does.

    It is not an event of the response: a client that resumes after its number misses nothing.
    """
    return {
        "type": "error",
        "code": fault.code,
        "message": fault.message,
        "param": fault.param,
        "sequence_number": LAST_BEFORE_END,
    }


def _numbered(events: list[Event], first: int) -> list[Event]:
    numbers = count(first)
    return [{**event, "sequence_number": next(numbers)} for event in events]


def _of_item(position: int, item: dict[str, Any]) -> Iterator[Event]:
    """Yield the events of one item of the output."""
    place: Event = {"output_index": position}
    beginning: Event = {"content": []} if item["type"] == "message" else {"arguments": ""}
    added = {**item, "status": "in_progress", **beginning}
    yield {"type": "response.output_item.added", **place, "item": added}
    place["item_id"] = item["id"]
    if item["type"] == "message":
        for index, part in enumerate(item["content"]):
            yield from _of_part({**place, "content_index": index}, part)
    else:
        kind, arguments = "response.function_call_arguments", item["arguments"]
        yield {"type": f"{kind}.delta", **place, "delta": arguments}
        yield {"type": f"{kind}.done", **place, "name": item["name"], "arguments": arguments}
    yield {"type": "response.output_item.done", "output_index": position, "item": item}


def _of_part(place: Event, part: dict[str, Any]) -> Iterator[Event]:
    """Yield the events of one part of a message."""
    is_text = part["type"] == "output_text"
    field, kind = ("text", "response.output_text") if is_text else ("refusal", "response.refusal")
    probabilities: Event = {"logprobs": []} if is_text else {}
    said = part[field]
    yield {"type": "response.content_part.added", **place, "part": {**part, field: ""}}
    if said:
        yield {"type": f"{kind}.delta", **place, "delta": said, **probabilities}
    yield {"type": f"{kind}.done", **place, field: said, **probabilities}
    yield {"type": "response.content_part.done", **place, "part": part}


log = logging.getLogger(__name__)

#: Seconds before a stream begins; failures within them become an HTTP status.
_BEGIN_AFTER: Final = 2.0
_KEEP_ALIVE: Final = b": keep-alive\n\n"
_DONE: Final = b"data: [DONE]\n\n"
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}

STREAMS: Final = event_stream(
    "The answer; with `stream: true` as OpenAI's events, in one piece",
    {"event": {"type": "string"}},
    ["data"],
)


async def ended_soon(waiting: asyncio.Task[JobRecord]) -> JobRecord | None:
    """Return the job if it ends soon, else None; raise the error of the wait."""
    done, _ = await asyncio.wait({waiting}, timeout=_BEGIN_AFTER)
    return waiting.result() if done else None


def stream_response(
    services: Services, job: JobRecord, waiting: asyncio.Task[JobRecord]
) -> StreamingResponse:
    """Return the events of a response that a call waits for."""
    return _as_events(_events(services, job, waiting, background=False))


def follow_response(
    services: Services, job: JobRecord, starting_after: int = -1
) -> StreamingResponse:
    """Return the events of a response after a number, until it has ended."""

    async def followed() -> AsyncIterator[bytes]:
        longest = services.gateway.longest_wait
        patience = wait_and_read(services, job, longest, when_parked=True)
        waiting = services.waits.begin(patience)
        events = _events(services, job, waiting, starting_after, background=True)
        try:
            async for event in events:
                yield event
        finally:
            waiting.cancel()

    return _as_events(followed())


def stream_completion(
    services: Services, waiting: asyncio.Task[JobRecord], *, with_usage: bool
) -> StreamingResponse:
    """Return the chunks of a completion."""

    async def chunks() -> AsyncIterator[bytes]:
        async for comment in _signs_of_life(services, waiting):
            yield comment
        try:
            completion = completion_of(waiting.result())
        except Exception as error:  # noqa: BLE001  # sent and logged
            yield _data(error_body(_fault(error)))
            return
        for chunk in chunks_of(completion, with_usage=with_usage):
            yield _data(chunk)
        yield _DONE

    return _as_events(chunks())


async def _events(
    services: Services,
    job: JobRecord,
    waiting: asyncio.Task[JobRecord],
    starting_after: int = -1,
    *,
    background: bool,
) -> AsyncIterator[bytes]:
    for event in events_before_end(job, background=background):
        if event["sequence_number"] > starting_after:
            yield _event(event)
    async for comment in _signs_of_life(services, waiting):
        yield comment
    try:
        events = _end(waiting.result(), background=background)
    except Exception as error:  # noqa: BLE001  # sent and logged
        events = [error_event(_fault(error))]
    for event in events:
        if event["sequence_number"] > starting_after or event["type"] == "error":
            yield _event(event)


def _end(job: JobRecord, *, background: bool) -> list[Event]:
    """Return the last events; raise `ApiError` if the job goes on or was cancelled."""
    view = job.view
    if view.state is State.CANCELLED:
        raise ApiError(409, "cancelled", f"response {view.id} was cancelled")
    if not view.state.is_terminal:
        raise not_yet(job)
    return events_of_end(job, background=background)


async def _signs_of_life(
    services: Services, waiting: asyncio.Task[JobRecord]
) -> AsyncIterator[bytes]:
    """Yield comments until the wait has ended."""
    while not (await asyncio.wait({waiting}, timeout=services.gateway.keep_alive))[0]:
        yield _KEEP_ALIVE


def _fault(error: Exception) -> ApiError:
    """Return the HTTP error for an exception; log unexpected ones."""
    fault = api_error_for(error)
    if fault.code == "internal_error":
        log.error("stream.failed", exc_info=error)
    return fault


def _event(event: Event) -> bytes:
    return f"event: {event['type']}\n".encode() + _data(event)


def _data(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate can't be written; it stays escaped.
    return b"data: " + text.encode("utf-8", "backslashreplace") + b"\n\n"


def _as_events(text: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(text, media_type="text/event-stream", headers=_HEADERS)
