"""The least that FastAPI does with a request, to measure the gateway beside it."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/v1/responses")
async def echo(request: Request) -> Response:
    """Return the body as it came."""
    return Response(await request.body(), media_type="application/json")
