"""`visionq doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final

import click
from redis.exceptions import ResponseError

from visionq.cli.doctor.findings import Finding, Level, not_known, ok, problem, public_address
from visionq.cli.doctor.fleet_checks import fleet_findings, neighbour_findings, usage_findings
from visionq.cli.doctor.provider_checks import (
    Provider,
    ask_provider,
    environment_findings,
    provider_at,
)
from visionq.cli.doctor.redis_checks import broker_finding, read_server, redis_findings
from visionq.cli.doctor.table_checks import listed_finding, table_findings, versions_finding
from visionq.cli.record import read_record
from visionq.cli.screen import people_console
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_UNREACHABLE,
    errors_as_json,
    find_redis_url,
    json_option,
    print_json,
)
from visionq.errors import QueueUnavailable
from visionq.ledger import ledger_options
from visionq.ledger.overview import overview
from visionq.pricing.model_list import read_model_list
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from visionq.cli.doctor.provider_checks import Provider
    from visionq.pricing.model_list import ListedModels
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


def examine(target: DoctorTarget) -> list[Finding]:
    """Look at everything; nothing is changed, and no call is made that costs."""
    settings = target.settings
    findings = _ledger_findings(target)
    broker = settings.broker_url
    if broker is not None and broker.get_secret_value() != target.redis_url:
        findings.append(broker_finding(broker.get_secret_value()))
    asked, today = ask_provider(target.provider), datetime.now(UTC).date()
    listed = asked.listed or _noted_list(target)
    there = [listed_finding(settings.default_model, listed, today)] if listed else []
    return [
        *findings,
        *environment_findings(target.environ, target.provider.base_url),
        *asked.findings,
        *there,
        *table_findings(settings, today, listed),
        versions_finding(),
    ]


def is_unreachable(findings: list[Finding]) -> bool:
    """Return whether Redis was out of reach."""
    return any(one.check == REACHABLE and one.level is Level.PROBLEM for one in findings)


def _ledger_findings(target: DoctorTarget) -> list[Finding]:
    if target.redis_url is None:
        return [problem(REACHABLE, "no address of Redis is known", target.no_redis)]
    url, address = target.redis_url, public_address(target.redis_url)
    refuse_at = ledger_options(target.settings).refuse_at
    try:
        with connect(url, "visionq-doctor", retries=0) as redis, as_queue_unavailable():
            server = read_server(redis, time.time, time.perf_counter)
            findings = [ok(REACHABLE, f"{address} answers")]
            findings += redis_findings(server, url, refuse_at, is_of_stack=target.is_of_stack)
            return [*findings, *_fleet(redis, target.settings)]
    except QueueUnavailable as error:
        return [problem(REACHABLE, f"{address}: {error.message}", _UNREACHABLE)]


def _noted_list(target: DoctorTarget) -> ListedModels | None:
    """Return the list of models that a worker stored: it has the key."""
    if target.redis_url is None:
        return None
    with (
        suppress(QueueUnavailable, ResponseError),  # already reported
        connect(target.redis_url, "visionq-doctor", retries=0) as redis,
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


#: Level → its word, its colour, and its word in the sum.
_WORDS: Final = {
    Level.OK: ("ok", "green", "ok"),
    Level.WARNING: ("warning", "yellow", "warnings"),
    Level.PROBLEM: ("problem", "bold red", "problems"),
    Level.NOT_KNOWN: ("not known", "cyan", "not known"),
}


@click.command()
@json_option
def doctor(*, as_json: bool) -> int:
    """Look at Redis, provider, workers and data files, and say what to do.

    Changes nothing and makes no call that costs. Exit code 0: no problem; 1: a problem was found;
    3: Redis is out of reach.
    """
    with errors_as_json(as_json):
        findings = examine(_target(load_settings()))
    if as_json:
        print_json(report(findings))
    else:
        _print(findings)
    return exit_code_of(findings)


def exit_code_of(findings: list[Finding]) -> int:
    """Return 3 if Redis is unreachable, 1 for any other problem, else 0."""
    if is_unreachable(findings):
        return EXIT_UNREACHABLE
    has_problem = any(one.level is Level.PROBLEM for one in findings)
    return EXIT_FAILED if has_problem else EXIT_OK


def report(findings: Sequence[Finding]) -> dict[str, object]:
    """Return what `--json` prints."""
    counts = Counter(one.level for one in findings)
    return {
        "counts": {level.value: counts[level] for level in Level},
        "findings": [one.to_public() for one in findings],
    }


def find_provider(settings: Settings) -> Provider:
    """Return the provider that the environment names, else that of the stack that runs here."""
    record = None if settings.redis_url else read_record()
    if record is None:
        return provider_at(settings.base_url, settings, simulated=False)
    simulated = record.simulator_url is not None
    return provider_at(record.provider_url, settings, simulated=simulated)


def _target(settings: Settings) -> DoctorTarget:
    provider = find_provider(settings)
    try:
        url = find_redis_url(settings)
    except QueueUnavailable as error:
        return DoctorTarget(settings, provider, None, error.message, os.environ)
    record = read_record()
    is_of_stack = record is not None and record.redis_url == url
    return DoctorTarget(settings, provider, url, environ=os.environ, is_of_stack=is_of_stack)


def _print(findings: Sequence[Finding]) -> None:
    from rich.table import Table  # noqa: PLC0415  # only people need it, not --json
    from rich.text import Text  # noqa: PLC0415  # likewise

    console = people_console()
    for part, members in groupby(findings, key=lambda one: one.check.partition(".")[0]):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        table.add_column(no_wrap=True, min_width=9)
        table.add_column(no_wrap=True, min_width=11)
        table.add_column()
        for one in members:
            word, colour, _ = _WORDS[one.level]
            text = Text(one.message)
            if one.advice:
                text.append(f"\n→ {one.advice}", "bold")
            name = one.check.partition(".")[2]
            table.add_row(Text(word, colour), Text(name, "dim"), text)
        console.print(Text(part.capitalize(), "bold"), table)
    counts = Counter(one.level for one in findings)
    console.print()
    console.print(
        Text(", ").join(
            Text(f"{counts[level]} {plural}", colour)
            for level, (_, colour, plural) in _WORDS.items()
            if counts[level]
        )
    )
