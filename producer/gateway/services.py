"""What every request works with, opened once for the process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from producer.gateway.batches.record import BatchBook
from producer.gateway.bodies import Bodies
from producer.gateway.files.store import FileStore
from producer.gateway.models import KnownModels
from producer.gateway.parking import GateWatch
from producer.gateway.turns import Turns
from producer.gateway.waits import Waits
from visionq.blobs import open_async_blobs
from visionq.ledger import AsyncLedger, ledger_options
from visionq.redis_connection import connect, connect_async
from visionq.sdk.listening import Listener
from visionq.sdk.waiting import REPLY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from redis import Redis as BlockingRedis
    from redis.asyncio import Redis

    from producer.gateway.access import Key
    from producer.gateway.settings import GatewaySettings
    from visionq.blobs.protocol import AsyncBlobStore
    from visionq.settings import Settings

T = TypeVar("T")

CLIENT_NAME: Final = "visionq-gateway"


@dataclass(frozen=True)
class Setup:
    """What a gateway is made from."""

    settings: Settings
    gateway: GatewaySettings
    redis_url: str
    #: Digest → key of those that are not in Redis.
    own_keys: Mapping[str, Key]


@dataclass(frozen=True)
class Services:
    """Connections, open."""

    setup: Setup
    redis: Redis
    ledger: AsyncLedger
    blobs: AsyncBlobStore
    listener: Listener
    waits: Waits
    files: FileStore
    batches: BatchBook
    bodies: Bodies
    #: One thread: the lines of one batch at a time are in memory, and requests go on beside it.
    batch_thread: ThreadPoolExecutor
    #: Work of requests that takes longer than others should wait: each kind has its own threads.
    quotes: Turns
    listings: Turns
    models: KnownModels
    #: For the threads of listings.
    reading: BlockingRedis
    gates: GateWatch

    @property
    def settings(self) -> Settings:
        """The settings of the ledger and its jobs."""
        return self.setup.settings

    @property
    def gateway(self) -> GatewaySettings:
        """The settings of the gateway itself."""
        return self.setup.gateway

    async def in_batch_thread(self, act: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401  # whatever it takes
        """Do a piece of the work of a batch, beside that of requests."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.batch_thread, partial(act, *arguments))


@asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Services]:
    """Give the connections, and close them in the end."""
    redis = connect_async(setup.redis_url, CLIENT_NAME)
    # Waiting has patience of its own: its connections neither try again nor wait for long.
    waiting = connect_async(setup.redis_url, CLIENT_NAME, retries=0, patience=REPLY)
    listener, waits = Listener(waiting), Waits()
    ledger = AsyncLedger(redis, ledger_options(setup.settings))
    bodies = Bodies(setup.gateway.max_body_bytes)
    batch_thread = ThreadPoolExecutor(1, "batch")
    quotes, listings = Turns("quote", 2), Turns("listing", 2)
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
