"""A response as the events of its stream, in OpenAI's order.

The events of a response and their numbers follow from the response alone, so that a client whose
connection broke takes up the stream where it was, at any gateway.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Final

from producer.gateway.openai.responses import response_of
from visionq.contract import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer.gateway.faults import Fault
    from producer.gateway.job_service import Standing

Event = dict[str, Any]

#: Number of the last event that comes before the end of the job.
LAST_BEFORE_END: Final = 1


def events_before_end(standing: Standing, *, background: bool) -> list[Event]:
    """Return the first events, as they are while the job has not ended."""
    if standing.view.state.is_terminal:
        unended = {"state": State.IN_PROGRESS, "error": None, "reason": None, "finished_at": None}
        standing = replace(standing, view=standing.view.model_copy(update=unended), result=None)
    created = response_of(standing, background=background).model_dump(mode="json")
    return _numbered(
        [
            {"type": "response.created", "response": created},
            {"type": "response.in_progress", "response": {**created, "status": "in_progress"}},
        ],
        0,
    )


def events_of_end(standing: Standing, *, background: bool) -> list[Event]:
    """Return the further events of a job that has ended and was not cancelled."""
    response = response_of(standing, background=background).model_dump(mode="json")
    items = chain.from_iterable(_of_item(*each) for each in enumerate(response["output"]))
    end = {"type": f"response.{response['status']}", "response": response}
    return _numbered([*items, end], LAST_BEFORE_END + 1)


def error_event(fault: Fault) -> Event:
    """Return the event of a stream that ends before the response does.

    It is none of the response's own events and counts as none: who takes up the stream after its
    number misses nothing.
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
