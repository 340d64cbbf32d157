"""All checks, in the order in which one thing needs the other."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from visionq.cli.doctor.addresses import public_address
from visionq.cli.doctor.broker_checks import broker_finding
from visionq.cli.doctor.environment_checks import environment_findings
from visionq.cli.doctor.findings import Finding, Level, not_known, ok, problem
from visionq.cli.doctor.fleet_checks import fleet_findings, neighbour_findings
from visionq.cli.doctor.provider_checks import Provider, ask_provider
from visionq.cli.doctor.redis_checks import redis_findings
from visionq.cli.doctor.server import read_server
from visionq.cli.doctor.table_checks import listed_finding, table_findings
from visionq.cli.doctor.usage_checks import usage_findings
from visionq.cli.doctor.versions import versions_finding
from visionq.errors import QueueUnavailable
from visionq.ledger import ledger_options
from visionq.ledger.overview import overview
from visionq.pricing.model_list import read_model_list
from visionq.redis_connection import as_queue_unavailable, connect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from visionq.pricing.model_list import ModelList
    from visionq.settings import Settings

REACHABLE: Final = "redis.reachable"
_UNREACHABLE: Final = (
    "start it (`visionq up` brings its own), or correct VISIONQ_REDIS_URL: host, port, user,"
    " password, and `rediss://` where it wants TLS"
)
_MAY_READ: Final = "run `visionq doctor` as a Redis user that may read all of `visionq:*`"


@dataclass(frozen=True, slots=True)
class DoctorTarget:
    """What is examined."""

    settings: Settings
    provider: Provider
    #: None where no address of Redis is known; `no_redis` says why.
    redis_url: str | None
    no_redis: str = ""
    #: The environment of HTTP clients: proxies and certificates.
    environ: Mapping[str, str] = field(default_factory=dict)
    #: Whether this Redis is that of a running `visionq up`.
    is_of_stack: bool = False


def examine(patient: DoctorTarget) -> list[Finding]:
    """Look at everything; nothing is changed, and no call is made that costs."""
    settings = patient.settings
    findings = _ledger_findings(patient)
    broker = settings.broker_url
    if broker is not None and broker.get_secret_value() != patient.redis_url:
        findings.append(broker_finding(broker.get_secret_value()))
    asked, today = ask_provider(patient.provider), datetime.now(UTC).date()
    listed = asked.listed or _noted_list(patient)
    there = [listed_finding(settings.default_model, listed, today)] if listed else []
    return [
        *findings,
        *environment_findings(patient.environ, patient.provider.base_url),
        *asked.findings,
        *there,
        *table_findings(settings, today, listed),
        versions_finding(),
    ]


def is_unreachable(findings: list[Finding]) -> bool:
    """Return whether Redis was out of reach."""
    return any(one.check == REACHABLE and one.level is Level.PROBLEM for one in findings)


def _ledger_findings(patient: DoctorTarget) -> list[Finding]:
    if patient.redis_url is None:
        return [problem(REACHABLE, "no address of Redis is known", patient.no_redis)]
    url, address = patient.redis_url, public_address(patient.redis_url)
    refuse_at = ledger_options(patient.settings).refuse_at
    try:
        with connect(url, "visionq-doctor", retries=0) as redis, as_queue_unavailable():
            server = read_server(redis, time.time, time.perf_counter)
            findings = [ok(REACHABLE, f"{address} answers")]
            findings += redis_findings(server, url, refuse_at, is_of_stack=patient.is_of_stack)
            return [*findings, *_fleet(redis, patient.settings)]
    except QueueUnavailable as error:
        return [problem(REACHABLE, f"{address}: {error.message}", _UNREACHABLE)]


def _noted_list(patient: DoctorTarget) -> ModelList | None:
    """Return the list of models that a worker noted: it has the key, where here there is none."""
    if patient.redis_url is None:
        return None
    with (
        suppress(QueueUnavailable, ResponseError),  # how Redis is stands above
        connect(patient.redis_url, "visionq-doctor", retries=0) as redis,
        as_queue_unavailable(),
    ):
        return read_model_list(redis)
    return None


def _fleet(redis: Redis, settings: Settings) -> list[Finding]:
    try:
        return [
            *fleet_findings(redis, overview(redis)),
            *neighbour_findings(redis, default_queue=settings.consume_default_queue),
            *usage_findings(redis),
        ]
    except ResponseError as error:
        return [not_known("workers.alive", f"the ledger can't be read: {error}", _MAY_READ)]
