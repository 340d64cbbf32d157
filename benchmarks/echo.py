"""A bare FastAPI echo: the baseline for the gateway."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/v1/responses")
async def echo(request: Request) -> Response:
    """Return the body unchanged."""
    return Response(await request.body(), media_type="application/json")
