"""The gateway as a FastAPI application, and the server that runs it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import click
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from producer.gateway.background import end_tasks
from producer.gateway.batches.batch_routes import router as batches_router
from producer.gateway.batches.batch_runner import BatchRunner
from producer.gateway.dependencies import opened
from producer.gateway.file_routes import router as files_router
from producer.gateway.http_errors import ApiError, api_error_for, invalid, is_native, response_for
from producer.gateway.job_routes import batch_router as batch_events_router
from producer.gateway.job_routes import job_schemas
from producer.gateway.job_routes import router as jobs_router
from producer.gateway.openai.openai_routes import router as openai_router
from producer.gateway.quote_routes import CountRequest, QuoteRequest, counting_router, quotes_router
from producer.gateway.request_bodies import schemas_of
from producer.gateway.request_guard import Guard
from producer.openai_requests.chat import ChatRequest
from producer.openai_requests.responses import ResponseRequest
from visionq.errors import VisionqError
from visionq.http_checks import nonce_headers
from visionq.redaction import keep_content_out_of_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from producer.gateway.dependencies import Setup

log = logging.getLogger(__name__)

#: The client closed the request; web servers log it so.
_CLIENT_CLOSED: Final = 499
_CODES: Final = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_ROUTERS: Final = (
    openai_router,
    counting_router,
    files_router,
    batches_router,
    jobs_router,
    batch_events_router,
    quotes_router,
)
_DESCRIPTION: Final = """\
OpenAI's own asynchronous API for questions about pictures, so that any official SDK is the client:
give it this address as `base_url`. What is not supported is refused by name.
"""


def build_app(setup: Setup) -> FastAPI:
    """Return the application; it connects when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opened(setup) as services:
            app.state.services = services
            runner = asyncio.create_task(BatchRunner(services).run())
            yield
            await end_tasks({runner})

    app = Documented(
        title="visionq",
        version=version("visionq"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        # Its pages would load scripts from other sites.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard)
    for kind in (ApiError, VisionqError, RedisError, Exception):
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_hang_up)
    for router in _ROUTERS:
        app.include_router(router)
    app.add_api_route("/healthz", _healthz, include_in_schema=False)
    return app


class Documented(FastAPI):
    """An application whose OpenAPI document includes bodies that are parsed by hand."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            _, definitions = job_schemas()
            definitions |= schemas_of((ResponseRequest, ChatRequest, CountRequest, QuoteRequest))
            super().openapi()["components"]["schemas"].update(definitions)
        return super().openapi()


async def _healthz(request: Request) -> JSONResponse:
    """Check the connection to Redis."""
    await request.app.state.services.redis.ping()
    return JSONResponse({"status": "ok"}, headers=nonce_headers())


def _on_error(request: Request, error: Exception) -> Response:
    path = request.url.path
    return response_for(api_error_for(error, native=is_native(path)), path)


def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for it alone
    path = request.url.path
    status = HTTPStatus.UNPROCESSABLE_ENTITY if is_native(path) else HTTPStatus.BAD_REQUEST
    return response_for(invalid(error.errors(), status), path)


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # likewise
    code = _CODES.get(error.status_code, "invalid_job")
    response = response_for(ApiError(error.status_code, code, str(error.detail)), request.url.path)
    response.headers.update(error.headers or {})
    return response


def _on_hang_up(request: Request, error: Exception) -> Response:  # noqa: ARG001  # starlette's signature
    log.info("client.hung_up path=%s", request.url.path)
    return Response(status_code=_CLIENT_CLOSED)


#: Seconds for calls in progress when the process ends; their jobs go on and can be fetched.
_GRACE: Final = 2
_BACKLOG: Final = 2048


def serve(setup: Setup) -> None:
    """Serve until SIGTERM or SIGINT."""
    keep_content_out_of_logs()
    address, port = setup.gateway.address, setup.gateway.port
    shown = f"[{address}]" if ":" in address else address
    click.echo(f"The gateway listens on http://{shown}:{port}/", err=True)
    uvicorn.run(
        build_app(setup),
        host=address,
        port=port,
        access_log=False,
        log_level=setup.settings.log_level.lower(),
        backlog=_BACKLOG,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
