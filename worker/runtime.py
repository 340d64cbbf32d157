"""The dependencies of a worker process, created once and shared by its jobs and threads."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from visionq.blobs import open_async_blobs, open_blobs
from visionq.dead_letters import Bounds, DeadLetters
from visionq.detectors import load_detectors
from visionq.ledger import AsyncLedger, Ledger, Registration, ledger_options
from visionq.ledger.near_answers import NearAnswers
from visionq.ledger.usage import CalibrationReader
from visionq.model_migrations import FreshMigrations
from visionq.names import HINT_QUEUES, QUEUE_BATCH
from visionq.pricing.batch_lane import load_batch_table
from visionq.pricing.model_options import load_option_table
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.providers import load_profile
from visionq.redis_connection import TRANSIENT_ERRORS, connect, connect_multiplexed
from visionq.settings import ConfigurationError, load_settings
from worker.celery.canvas import send_canvas
from worker.delivery_sender import DeliverySender, make_delivery_sender
from worker.event_loop import EventLoop, LoopBlocks
from worker.fetch import Fetcher, FetchPolicy
from worker.images import DecodeSlots, ImageLimits, MemoryLimiter
from worker.intake import Intake
from worker.malloc import MemoryTrim, tune_malloc
from worker.packing import Packer, PackerParts
from worker.packing.leadership import Leadership
from worker.pipeline import Dependencies
from worker.pipeline.cheaper_tier import FlexVerdicts
from worker.provider.batches import make_batch_api
from worker.provider.free_requests import answers, read_balance, read_models
from worker.provider.provider_client import make_async_client, make_client
from worker.threads.dispatcher import Dispatcher, HintPublisher
from worker.threads.heartbeat import Heartbeat, Leases
from worker.threads.maintenance import MaintenanceThread
from worker.threads.maintenance.alerts import (
    Disbelief,
    Drift,
    LowBalance,
    ModelEndings,
    Notices,
    make_sender,
)
from worker.threads.maintenance.gate import BalanceProbe, OutageProbe
from worker.threads.maintenance.housekeeping import (
    EnvironmentLimits,
    Fallbacks,
    Models,
    Scripts,
    Sweep,
)
from worker.threads.statistics import StatisticsWriter
from worker.threads.watchdog import DISPATCHER, Progress, Reporter
from worker.tracing import make_tracing

if TYPE_CHECKING:
    from celery import Celery
    from openai import OpenAI
    from redis import Redis

    from visionq.pricing.vision import RequestLimits
    from visionq.settings import Settings
    from worker.threads.maintenance.scheduler import PeriodicTask


#: Threads for blocking calls beyond one for each download.
_SPARE_THREADS: Final = 8


#: Seconds between two rounds of the packer.
PACKER_PAUSE = 5.0


@dataclass(frozen=True)
class Runtime:
    """The process: its dependencies, its registration in the fleet and its threads."""

    dependencies: Dependencies
    intake: Intake
    loop: EventLoop
    leases: Leases
    registration: Registration
    progress: Progress
    reporter: Reporter
    heartbeat: Heartbeat
    dispatcher: Dispatcher
    watch: MaintenanceThread
    dead_letters: DeadLetters
    #: Apart from the watch: a store that is slow must not keep a gate closed.
    sweeper: MaintenanceThread
    #: Apart as well: filling a batch takes minutes.
    packer: MaintenanceThread
    leadership: Leadership
    limits: EnvironmentLimits
    scripts: Scripts
    delivery_sender: DeliverySender
    #: For what threads ask the provider.
    probes: OpenAI

    def start(self) -> None:
        """Register with the fleet and begin to dispatch."""
        with suppress(*TRANSIENT_ERRORS):  # the watch tries again
            self.scripts.run()
            self.limits.run()
        self.loop.start()
        self.heartbeat.start()
        self.dependencies.statistics.start()
        self.dispatcher.start()
        self.sweeper.start()
        self.watch.start()
        self.leadership.start()
        self.packer.start()

    def drain(self) -> None:
        """Take no more work."""
        self.dispatcher.stop()
        self.progress.rest(DISPATCHER)
        self.sweeper.stop()
        self.watch.stop()
        self.packer.stop()
        self.heartbeat.drain()

    def stop(self) -> None:
        """Stop every thread; no job may run any more."""
        self.dispatcher.stop()
        self.sweeper.stop()
        self.watch.stop()
        self.packer.stop()
        self.leadership.stop()
        self.leadership.leave()
        self.dispatcher.join(timeout=5)
        self.sweeper.join(timeout=5)
        self.dependencies.statistics.stop()
        self.heartbeat.stop()
        self.reporter.stop()
        self.dependencies.tracing.stop()
        self.dependencies.isolated_decoder.close()
        self.dependencies.decode_slots.close()
        self.loop.stop(self.dependencies.client.close)
        self.probes.close()


def build_runtime(app: Celery, slots: int, queues: tuple[str, ...]) -> Runtime:
    """Put a process together from the environment; connects at first use."""
    tune_malloc()
    settings = load_settings()
    options = ledger_options(settings)
    redis = _redis(settings)
    ledger = Ledger(redis, options)
    # A silent connection must not cost the heartbeat a whole lease.
    pulse = Ledger(_redis(settings, patience=options.lease / 5, retries=0), options)
    leases = Leases()
    registration = _registration(settings, slots, queues)
    loop = EventLoop(slots + _SPARE_THREADS)
    progress = Progress(leases, slots, silence=lambda: loop.silence)
    dependencies, probes = _dependencies(settings, ledger, registration.key), make_client(settings)
    intake = Intake(
        settings,
        ledger,
        open_blobs(settings, redis),
        time.sleep,
        partial(FreshMigrations().read, redis),
    )
    limits = EnvironmentLimits(ledger, settings.limits or {})
    scripts = Scripts(redis)
    parts = _packer_parts(settings, ledger, dependencies, registration, leases=leases, loop=loop)
    urgent: list[PeriodicTask] = [MemoryTrim(), LoopBlocks(loop, redis), scripts, limits]
    urgent += _urgent_tasks(settings, redis, ledger, probes, registration.key)
    return Runtime(
        dependencies=dependencies,
        intake=intake,
        loop=loop,
        leases=leases,
        registration=registration,
        progress=progress,
        reporter=Reporter(progress, leases, registration.worker, settings),
        heartbeat=Heartbeat(pulse, leases, registration, progress),
        dispatcher=Dispatcher(redis, ledger, HintPublisher(app), progress),
        dead_letters=DeadLetters(_redis(settings, patience=5), bounds(settings)),
        watch=MaintenanceThread(urgent),
        sweeper=MaintenanceThread(_slow_tasks(settings, redis, probes, intake), pause=20),
        packer=MaintenanceThread([Packer(parts)], pause=PACKER_PAUSE),
        leadership=parts.leadership,
        limits=limits,
        scripts=scripts,
        delivery_sender=make_delivery_sender(
            settings, ledger, partial(send_canvas, app, ledger), random.random, time.sleep
        ),
        probes=probes,
    )


def _packer_parts(
    settings: Settings,
    ledger: Ledger,
    dependencies: Dependencies,
    registration: Registration,
    *,
    leases: Leases,
    loop: EventLoop,
) -> PackerParts:
    """Return the parts of the packer, which takes jobs as a worker without slots."""
    return PackerParts(
        ledger=ledger,
        dependencies=dependencies,
        run=loop.run,
        leases=leases,
        registration=replace(registration, slots=0, queues=(QUEUE_BATCH,)),
        api=make_batch_api(settings),
        table=load_batch_table(settings.batches_file),
        leadership=Leadership(ledger.redis, registration.key),
        clock=time.time,
    )


def bounds(settings: Settings) -> Bounds:
    """Return how many dead letters are kept."""
    return Bounds(settings.dead_letters_kept, settings.dead_letters_bytes, settings.result_ttl)


def _urgent_tasks(
    settings: Settings, redis: Redis, ledger: Ledger, probes: OpenAI, key: str
) -> list[PeriodicTask]:
    """Return tasks that notice changes within seconds."""
    sender = make_sender(settings)
    balance = BalanceProbe(
        redis,
        ledger,
        key,
        partial(read_balance, probes, load_profile(settings.provider).balance),
        time.time,
    )
    tasks: list[PeriodicTask] = [
        balance,
        OutageProbe(redis, ledger, key, partial(answers, probes)),
        Fallbacks(redis, ledger),
    ]
    if sender is not None:
        low = LowBalance(redis, key, sender, time.time, settings.low_balance_rub)
        tasks[0] = replace(balance, warn_if_low=low.check)
        tasks.append(Notices(redis, sender, time.time))
    return tasks


def _slow_tasks(
    settings: Settings, redis: Redis, probes: OpenAI, intake: Intake
) -> list[PeriodicTask]:
    """Return tasks that the fleet runs once a minute or less often."""
    tasks: list[PeriodicTask] = [
        Drift(redis),
        Disbelief(redis),
        Models(redis, partial(read_models, probes, load_profile(settings.provider))),
        Sweep(redis, intake.blobs, settings.result_ttl, settings.failed_ttl),
    ]
    sender = make_sender(settings)
    if sender is not None:
        tasks.append(ModelEndings(redis, sender, time.time, settings.default_model))
    return tasks


def _redis(settings: Settings, **options: Any) -> Redis:  # noqa: ANN401  # what `connect` takes
    return connect(_url(settings), "visionq-worker", **options)


def _url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise ConfigurationError("VISIONQ_REDIS_URL is not set: it names the Redis of the ledger")
    return settings.redis_url.get_secret_value()


def _registration(settings: Settings, slots: int, queues: tuple[str, ...]) -> Registration:
    host = socket.gethostname()
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return Registration(
        worker=f"{host}:{os.getpid()}:{secrets.token_hex(4)}",
        slots=slots,
        queues=tuple(queue for queue in queues if queue in HINT_QUEUES),
        key=hashlib.sha256(key.encode()).hexdigest()[:12],
        facts={"host": host, "pid": os.getpid(), "started": time.time()},
    )


def _dependencies(settings: Settings, ledger: Ledger, key: str) -> Dependencies:
    redis = connect_multiplexed(_url(settings), "visionq-worker")
    # Of their own, for nothing waits behind a large picture.
    pictures = connect_multiplexed(_url(settings), "visionq-worker")
    rules = load_rules(settings.vision_file)
    usage = CalibrationReader(redis, time.monotonic)
    return Dependencies(
        settings=settings,
        ledger=AsyncLedger(redis, ledger_options(settings)),
        statistics=StatisticsWriter(ledger),
        blobs=open_async_blobs(settings, pictures),
        fetcher=Fetcher(fetch_policy(settings)),
        client=make_async_client(settings),
        prices=load_prices(settings.prices_file),
        rules=rules,
        options=load_option_table(settings.options_file),
        profile=load_profile(settings.provider),
        limits=image_limits(settings, rules.request),
        # One decode at a time in a process: the fleet has a process for each core.
        decode_slots=DecodeSlots(1),
        calibration=usage.of,
        least_input=usage.least_input,
        flex=None if settings.first_byte_timeout else FlexVerdicts(redis, key, time.time),
        near_answers=NearAnswers(redis, settings.answer_ttl, time.time),
        detectors=load_detectors(settings.detectors),
        memory=MemoryLimiter(settings.max_held_bytes),
        tracing=make_tracing(settings),
        monotonic=time.monotonic,
        random=random.random,
        sleep=asyncio.sleep,
    )


def fetch_policy(settings: Settings) -> FetchPolicy:
    """Return the operator's policy of downloads."""
    headers = {
        host.lower().rstrip("."): {name: value.get_secret_value() for name, value in own.items()}
        for host, own in (settings.host_headers or {}).items()
    }
    return FetchPolicy(
        allow_private=settings.allow_private_urls,
        allowed_hosts=settings.allowed_hosts,
        denied_hosts=settings.denied_hosts,
        trusted_ranges=tuple(map(ip_network, settings.trusted_ranges)),
        user_agent=settings.user_agent,
        host_headers=headers,
        max_connections_per_host=settings.max_connections_per_host,
    )


def image_limits(settings: Settings, provider: RequestLimits) -> ImageLimits:
    """Return the limits on pictures: the operator's, as far as the provider takes as much."""
    return ImageLimits(
        max_bytes=min(settings.max_image_bytes, provider.max_image_bytes),
        max_pixels=settings.max_image_pixels,
        max_base64_bytes=provider.max_base64_bytes,
        max_original_bytes=max(settings.max_original_bytes, settings.max_image_bytes),
        max_decode_bytes=settings.max_decode_bytes,
        max_request_bytes=min(settings.max_request_bytes, provider.max_payload_bytes),
    )
