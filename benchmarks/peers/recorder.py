"""A provider that answers after a fixed latency and records when each question arrived.

It reads only the question's number, so it costs next to nothing. `GET /log` returns, for each
number, when the question arrived and when its answer left.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import Final

from aiohttp import web

_NUMBER: Final = re.compile(rb"#(\d+)")
_LOG: Final = web.AppKey("log", dict[int, tuple[float, float]])
_LATENCY: Final = web.AppKey("latency", float)
#: The answer to every question, in the provider's format.
_ANSWER: Final = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_780_000_000,
    "status": "completed",
    "model": "gpt-6-luna",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Серый квадрат.", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 110,
    },
}


async def _answer(request: web.Request) -> web.Response:
    came = time.time()
    found = _NUMBER.search(await request.read())
    await asyncio.sleep(request.app[_LATENCY])
    if found:
        request.app[_LOG][int(found.group(1))] = (came, time.time())
    return web.json_response(_ANSWER)


async def _log(request: web.Request) -> web.Response:
    return web.json_response(request.app[_LOG])


def main(port: int, latency: float) -> None:
    """Serve on loopback until terminated."""
    app = web.Application(client_max_size=100_000_000)
    app[_LOG], app[_LATENCY] = {}, latency
    app.router.add_post("/openai/v1/responses", _answer)
    app.router.add_get("/log", _log)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
