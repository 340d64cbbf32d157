"""`visionq doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import os
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Final

import click

from visionq.cli.doctor.examination import DoctorTarget, examine, is_unreachable
from visionq.cli.doctor.findings import Finding, Level
from visionq.cli.doctor.provider_checks import provider_at
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
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.cli.doctor.provider_checks import Provider
    from visionq.settings import Settings

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
        findings = examine(_patient(load_settings()))
    if as_json:
        print_json(report(findings))
    else:
        _print(findings)
    return exit_code_of(findings)


def exit_code_of(findings: list[Finding]) -> int:
    """Return 3 if Redis is out of reach, 1 if there is any other problem, else 0."""
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


def _patient(settings: Settings) -> DoctorTarget:
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
