"""FastAPI dependencies: shared connections, the caller, common headers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer

from producer.gateway.access import Key
from producer.gateway.admission import GateWatch, KnownModels
from producer.gateway.background import DetachedTasks, FairThreads
from producer.gateway.batches.batch_store import BatchBook
from producer.gateway.file_store import FileStore
from producer.gateway.http_errors import ErrorBody, Problem
from producer.gateway.request_bodies import Bodies
from visionq.blobs import open_async_blobs
from visionq.ledger import AsyncLedger, ledger_options
from visionq.model_migrations import FreshMigrations
from visionq.redis_connection import connect, connect_async
from visionq.sdk.waiting import REPLY, Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from redis import Redis as BlockingRedis
    from redis.asyncio import Redis

    from producer.gateway.gateway_settings import GatewaySettings
    from visionq.blobs.protocol import AsyncBlobStore
    from visionq.model_migrations import ModelMigrations
    from visionq.settings import Settings

T = TypeVar("T")
#: OpenAPI documents of responses, by status.
Responses = dict[int | str, dict[str, Any]]

CLIENT_NAME: Final = "visionq-gateway"


@dataclass(frozen=True)
class Setup:
    """The configuration of a gateway."""

    settings: Settings
    gateway: GatewaySettings
    redis_url: str
    #: Digest → key, for keys that are not in Redis.
    own_keys: Mapping[str, Key]


@dataclass(frozen=True)
class Services:
    """Open connections, and everything that all requests share."""

    setup: Setup
    redis: Redis
    ledger: AsyncLedger
    blobs: AsyncBlobStore
    listener: Listener
    waits: DetachedTasks
    files: FileStore
    batches: BatchBook
    bodies: Bodies
    #: One thread, so that lines of only one batch are in memory at a time.
    batch_thread: ThreadPoolExecutor
    #: Threads for slow requests of each kind.
    quotes: FairThreads
    listings: FairThreads
    models: KnownModels
    #: For the threads of listings.
    reading: BlockingRedis
    gates: GateWatch
    #: Which models are asked in the place of others; for threads.
    migrations: Callable[[], ModelMigrations]

    @property
    def settings(self) -> Settings:
        """The settings of the ledger and its jobs."""
        return self.setup.settings

    @property
    def gateway(self) -> GatewaySettings:
        """The settings of the gateway itself."""
        return self.setup.gateway

    async def in_batch_thread(self, act: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401  # the arguments of `act`
        """Run a piece of a batch's work in its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.batch_thread, partial(act, *arguments))


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Services]:
    """Open the services, and close them after the block."""
    redis = connect_async(setup.redis_url, CLIENT_NAME)
    # Waiting has its own retries: its connections neither try again nor wait for long.
    waiting = connect_async(setup.redis_url, CLIENT_NAME, retries=0, patience=REPLY)
    listener, waits = Listener(waiting), DetachedTasks()
    ledger = AsyncLedger(redis, ledger_options(setup.settings))
    bodies = Bodies(setup.gateway.max_body_bytes)
    batch_thread = ThreadPoolExecutor(1, "batch")
    quotes, listings = FairThreads("quote", 2), FairThreads("listing", 2)
    reading = connect(setup.redis_url, CLIENT_NAME)
    try:
        yield Services(
            setup=setup,
            redis=redis,
            ledger=ledger,
            blobs=open_async_blobs(setup.settings, redis),
            listener=listener,
            waits=waits,
            files=FileStore(setup.gateway.files, setup.gateway.file_ttl),
            batches=BatchBook(redis, ledger, setup.gateway.file_ttl),
            bodies=bodies,
            batch_thread=batch_thread,
            quotes=quotes,
            listings=listings,
            models=KnownModels(reading, setup.settings),
            reading=reading,
            gates=GateWatch(reading),
            migrations=partial(FreshMigrations().read, reading),
        )
    finally:
        batch_thread.shutdown(cancel_futures=True)
        quotes.close()
        listings.close()
        reading.close()
        bodies.close()
        await waits.close()
        await listener.close()
        await redis.aclose()
        await waiting.aclose()


#: For the OpenAPI document alone: the guard has checked the key.
_bearer = HTTPBearer(auto_error=False, description="A key from `visionq keys create`.")


def content_type(request: Request) -> str:
    """Return the media type of a body, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _key(request: Request, _: Annotated[object, Security(_bearer)]) -> Key:
    key: Key = request.state.key
    return key


def _when_parked(
    choice: Annotated[
        Literal["wait", "refuse"] | None,
        Header(
            alias="X-Visionq-When-Parked",
            include_in_schema=False,
            description="Whether a call waits for its answer while its job waits for an operator:"
            " after a spent budget or a closed gate",
        ),
    ] = None,
) -> bool | None:
    return None if choice is None else choice == "wait"


Open = Annotated[Services, Depends(_services)]
Caller = Annotated[Key, Depends(_key)]
#: Whether to wait for an operator; None: the setting.
WhenParked = Annotated[bool | None, Depends(_when_parked)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=1024,
        description="The same key again means the same job, which is paid once.",
    ),
]


def event_stream(description: str, fields: dict[str, Any], required: list[str]) -> Responses:
    """Return the OpenAPI document of a route that can send events with these fields."""
    data = {"type": "string", "contentMediaType": "application/json"}
    schema = {"type": "object", "properties": {**fields, "data": data}, "required": required}
    content = {"text/event-stream": {"schema": schema}}
    return {200: {"description": description, "content": content}}


_PROBLEM: Final = {
    "description": "A problem (RFC 9457) with a stable code",
    "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
}
#: Error responses of OpenAI's API.
ERRORS: Final[Responses] = {
    "4XX": {"model": ErrorBody, "description": "The request is refused"},
    "5XX": {"model": ErrorBody, "description": "Try again later"},
}
#: Error responses of the native API.
PROBLEMS: Final[Responses] = {"4XX": _PROBLEM, "5XX": _PROBLEM}
