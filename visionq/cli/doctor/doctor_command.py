"""`visionq doctor`: run all checks and print their findings."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final

import click
from redis.exceptions import ResponseError

from visionq.cli.doctor.findings import Finding, Level, not_known, ok, problem
from visionq.cli.doctor.fleet_checks import (
    batch_findings,
    fleet_findings,
    neighbour_findings,
    usage_findings,
)
from visionq.cli.doctor.provider_checks import ask_provider, environment_findings
from visionq.cli.doctor.redis_checks import broker_finding, read_server, redis_findings
from visionq.cli.doctor.table_checks import (
    ending_findings,
    listed_finding,
    table_findings,
    versions_finding,
)
from visionq.cli.provider_account import find_provider
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
from visionq.http_checks import public_address
from visionq.ledger import ledger_options
from visionq.ledger.overview import overview
from visionq.ledger.usage import models_in_use
from visionq.model_migrations import NO_MIGRATIONS, read_migrations
from visionq.pricing.model_list import read_model_list
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from visionq.model_migrations import ModelMigrations
    from visionq.pricing.model_list import ListedModels
    from visionq.settings import Settings

REACHABLE: Final = "redis.reachable"
_UNREACHABLE: Final = (
    "start it (`visionq up` brings its own), or correct VISIONQ_REDIS_URL: host, port, user,"
    " password, and `rediss://` where it wants TLS"
)
_MAY_READ: Final = "run `visionq doctor` as a Redis user that may read all of `visionq:*`"
#: Level → its word, its colour, and its word for several.
_WORDS: Final = {
    Level.OK: ("ok", "green", "ok"),
    Level.WARNING: ("warning", "yellow", "warnings"),
    Level.PROBLEM: ("problem", "bold red", "problems"),
    Level.NOT_KNOWN: ("not known", "cyan", "not known"),
}


@click.command()
@json_option
def doctor(*, as_json: bool) -> int:
    """Check Redis, provider, workers and data files, and say what to fix.

    Changes nothing and makes no call that costs. Exit code 0: no problem; 1: a problem was found;
    3: Redis is out of reach.
    """
    with errors_as_json(as_json):
        findings = _examine(load_settings())
    if as_json:
        print_json(report(findings))
    else:
        _print(findings)
    return exit_code_of(findings)


def _examine(settings: Settings) -> list[Finding]:
    provider, today = find_provider(settings), datetime.now(UTC).date()
    findings, noted = _ask_redis(settings)
    asked, listed = ask_provider(provider)
    listed = listed or noted.listed
    default = noted.migrations.model_of(None, None, settings.default_model)
    settings = settings.model_copy(update={"default_model": default})
    findings += [*environment_findings(os.environ, provider.base_url), *asked]
    if listed:
        findings.append(listed_finding(settings.default_model, listed, today))
    ending = ending_findings(noted.in_use, settings, listed, today)
    return [*findings, *table_findings(settings, today, listed), *ending, versions_finding()]


@dataclass(frozen=True)
class _Noted:
    """What Redis knows of models."""

    listed: ListedModels | None = None
    in_use: frozenset[str] = frozenset()
    migrations: ModelMigrations = NO_MIGRATIONS


def _ask_redis(settings: Settings) -> tuple[list[Finding], _Noted]:
    """Return the findings about Redis, broker and workers; and what is noted of models."""
    findings, noted, url = [], _Noted(), None
    try:
        url = find_redis_url(settings)
    except QueueUnavailable as error:
        findings.append(problem(REACHABLE, "no address of Redis is known", error.message))
    else:
        address, record = public_address(url), read_record()
        is_of_stack = record is not None and record.redis_url == url
        refuse_at = ledger_options(settings).refuse_at
        try:
            with connect(url, "visionq-doctor", retries=0) as redis, as_queue_unavailable():
                server = read_server(redis, time.time, time.perf_counter)
                found = redis_findings(server, url, refuse_at, is_of_stack=is_of_stack)
                fleet = _fleet(redis, settings)
                findings = [ok(REACHABLE, f"{address} answers"), *found, *fleet]
                with suppress(ResponseError):  # already reported
                    noted = _Noted(
                        read_model_list(redis),
                        frozenset(models_in_use(redis, time.time())),
                        read_migrations(redis),
                    )
        except QueueUnavailable as error:
            findings = [problem(REACHABLE, f"{address}: {error.message}", _UNREACHABLE)]
    broker = settings.broker_url
    if broker is not None and broker.get_secret_value() != url:
        findings.append(broker_finding(broker.get_secret_value()))
    return findings, noted


def _fleet(redis: Redis, settings: Settings) -> list[Finding]:
    try:
        return [
            *fleet_findings(redis, overview(redis)),
            *neighbour_findings(redis, default_queue=settings.consume_default_queue),
            *usage_findings(redis),
            *batch_findings(redis),
        ]
    except ResponseError as error:
        return [not_known("workers.alive", f"the ledger can't be read: {error}", _MAY_READ)]


def exit_code_of(findings: list[Finding]) -> int:
    """Return 3 if Redis is unreachable, 1 for any other problem, else 0."""
    problems = {one.check for one in findings if one.level is Level.PROBLEM}
    if REACHABLE in problems:
        return EXIT_UNREACHABLE
    return EXIT_FAILED if problems else EXIT_OK


def report(findings: Sequence[Finding]) -> dict[str, object]:
    """Return the output of `--json`."""
    counts = Counter(one.level for one in findings)
    return {
        "counts": {level.value: counts[level] for level in Level},
        "findings": [one.to_public() for one in findings],
    }


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
            table.add_row(Text(word, colour), Text(one.check.partition(".")[2], "dim"), text)
        console.print(Text(part.capitalize(), "bold"), table)
    counts = Counter(one.level for one in findings)
    sums = [
        Text(counted(counts[level], word, several), colour)
        for level, (word, colour, several) in _WORDS.items()
        if counts[level]
    ]
    console.print()
    console.print(Text(", ").join(sums))
