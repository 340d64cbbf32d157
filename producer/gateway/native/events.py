"""What happens to a job or a batch, as server-sent events."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pydantic import BaseModel

_LOOK_EVERY: Final = 0.5

#: How OpenAPI's document has a route that streams: each event is of this form.
EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events `state`, the data of which is the document as it stands then",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "event": {"const": "state"},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                    "required": ["id", "event", "data"],
                }
            }
        },
    }
}

#: A document to tell, whether it is the last, and what it is told under.
Look = tuple["BaseModel", bool]


def stream(
    look: Callable[[], Awaitable[Look]],
    keep_alive: float,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> StreamingResponse:
    """Return an answer that tells each change of a document until it is the last.

    Args:
        look: returns the document as it stands, and whether nothing more is to come.
        keep_alive: seconds between signs of life, so that no proxy takes the stream for dead.
        pause: waits so many seconds, or until there may be something new.
    """
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    told = _told(look, keep_alive, pause)
    return StreamingResponse(told, media_type="text/event-stream", headers=headers)


async def _told(
    look: Callable[[], Awaitable[Look]],
    keep_alive: float,
    pause: Callable[[float], Awaitable[object]],
) -> AsyncIterator[str]:
    before, spoken, number = "", time.monotonic(), 0
    while True:
        document, is_last = await look()
        text = document.model_dump_json()
        if text != before:
            number += 1
            yield f"id: {number}\nevent: state\ndata: {text}\n\n"
            before, spoken = text, time.monotonic()
        elif time.monotonic() - spoken > keep_alive:
            yield ": alive\n\n"
            spoken = time.monotonic()
        if is_last:
            return
        await pause(min(_LOOK_EVERY, keep_alive))
