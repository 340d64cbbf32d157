"""`visionq worker`: the Celery worker with the options that visionq needs."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import contextmanager, suppress
from socket import gethostname
from typing import TYPE_CHECKING, Any, Final

import click

from visionq.cli.record import read_record
from visionq.cli.shared import find_redis_url
from visionq.detectors import load_detectors
from visionq.http_checks import prepare_http_environment
from visionq.ledger.ledger import check_version
from visionq.names import HINT_QUEUES, QUEUE_CELERY_DEFAULT, QUEUE_INTAKE, QUEUE_WEBHOOKS
from visionq.pricing.model_options import load_option_table
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.providers import load_profile
from visionq.redis_connection import TRANSIENT_ERRORS, connect
from visionq.settings import ConfigurationError, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from visionq.cli.record import StackRecord

_QUEUES: Final = ",".join((*HINT_QUEUES, QUEUE_INTAKE, QUEUE_WEBHOOKS))
#: A stack's simulator takes any key; a real one must not reach it.
_NO_KEY: Final = "simulated-no-key"
#: Open files beside one for each call: downloads, Redis, logs.
_SPARE_FILES: Final = 256


@click.command()
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Calls at a time; they mostly wait.",
)
@click.option("--queues", default=_QUEUES, show_default=True, help="Comma separated, in order.")
@click.option("--name", help="Name in Flower and in the process list, unique on this machine.")
def worker(concurrency: int, queues: str, name: str | None) -> int:
    """Run a worker process; start one for each core."""
    settings = load_settings()
    if settings.redis_url is None and (stack := read_record()) is not None:
        os.environ.update(joining(stack))
        settings = load_settings()
    check_provider(settings)
    check_files(settings)
    prepare_http_environment(os.environ)
    os.environ["VISIONQ_REDIS_URL"] = find_redis_url(settings)
    check_ledger(os.environ["VISIONQ_REDIS_URL"])
    node = name or f"visionq-worker-{os.getpid()}"

    with without("rich"):  # which structlog imports if it can: 5 MB, and logs have no use for it
        from worker.celery.app import app  # noqa: PLC0415  # takes a second to import

    # Not by way of Celery's command line: it would import Flower, and a prompt, into each worker.
    if settings.consume_default_queue:
        queues += f",{QUEUE_CELERY_DEFAULT}"
    allow_open_files(concurrency + _SPARE_FILES)
    process: Any = app.Worker(**worker_options(node, concurrency, queues, settings.log_level))
    process.start()
    exit_code: int = process.exitcode or 0
    return exit_code


@contextmanager
def without(module: str) -> Iterator[None]:
    """Let imports in the block fail for a module, unless it is loaded already."""
    is_loaded = module in sys.modules
    sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # the import system's own way
    try:
        yield
    finally:
        if not is_loaded:
            del sys.modules[module]


def allow_open_files(count: int) -> None:
    """Allow this process `count` open files, or as many as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def joining(stack: StackRecord) -> dict[str, str]:
    """Return the variables with which a worker joins a running stack and its provider.

    The jobs of a simulated stack are never sent to a provider that would be paid.
    """
    joined = {"VISIONQ_REDIS_URL": stack.redis_url, "PROXYAPI_BASE_URL": stack.provider_url}
    simulated = {"PROXYAPI_API_KEY": _NO_KEY, "VISIONQ_PROVIDER": "proxyapi"}
    return joined | (simulated if stack.simulator_url else {})


def check_provider(settings: Settings) -> None:
    """Refuse to run where every call would go to the internet without a key.

    Raises:
        ConfigurationError: there is no key, and no address of another provider.
    """
    default = load_profile(settings.provider).base_url
    if settings.api_key is None and settings.base_url == default:
        raise ConfigurationError(
            "PROXYAPI_API_KEY is not set, and nothing is sent to the internet without a key;"
            " `visionq up` runs without one, on a simulator"
        )


def check_files(settings: Settings) -> None:
    """Refuse to run with tables or detectors of an operator that can't be used.

    Raises:
        ConfigurationError: what is wrong with which file or detector, and where.
    """
    load_prices(settings.prices_file)
    load_rules(settings.vision_file)
    load_option_table(settings.options_file).check_default_effort(settings.default_effort)
    load_detectors(settings.detectors)


def check_ledger(redis_url: str) -> None:
    """Refuse a ledger of another version; ignore one that is out of reach.

    Raises:
        ConfigurationError: the ledger is older or newer than this release can work on.
    """
    with (
        connect(redis_url, "visionq-worker", retries=0, patience=3) as redis,
        suppress(*TRANSIENT_ERRORS),
    ):
        check_version(redis)


def worker_options(node: str, concurrency: int, queues: str, log_level: str) -> dict[str, Any]:
    """Return the options as the `celery worker` command would parse them."""
    return {
        "hostname": f"{node}@{gethostname()}",
        "concurrency": concurrency,
        "queues": queues,
        "loglevel": log_level,
        "quiet": True,
        # Flower lives on events; workers need not know of each other.
        "task_events": True,
        "without_gossip": True,
        "without_mingle": True,
    }
