"""`visionq health`: check that the workers of this machine make progress."""

from __future__ import annotations

import json
import os

import click

from visionq.health import directory, fleet_of, now, read_reports
from visionq.redis_url import parse_redis_url

# Run every few seconds by the supervisor of a container: it imports next to nothing, and asks
# neither Redis nor Celery.


@click.command()
@click.option("--pid", type=int, help="Check only this process.  [default: all of this user]")
@click.option(
    "--patience",
    type=click.FloatRange(min=2),
    default=30,
    show_default=True,
    help="Seconds of silence after which a process counts as stuck.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def health(*, pid: int | None, patience: float, as_json: bool) -> int:
    """Exit 0 if every worker of this machine makes progress, else 1.

    With VISIONQ_REDIS_URL, check the workers on that Redis. A worker that waits for Redis to
    return counts as healthy.
    """
    fleet = _fleet(os.environ.get("VISIONQ_REDIS_URL"))
    moment = now()
    reports = read_reports(directory(), fleet)
    reports = [report for report in reports if pid in (None, report.pid)]
    well = bool(reports) and not any(report.trouble_at(moment, patience) for report in reports)
    if as_json:
        workers = [report.to_public(moment, patience) for report in reports]
        click.echo(json.dumps({"healthy": well, "workers": workers}, ensure_ascii=False))
        return 0 if well else 1
    for report in reports:
        trouble = report.trouble_at(moment, patience)
        click.echo(f"{report.name} ({report.pid}): {trouble or 'moves on'}", err=bool(trouble))
    if not reports:
        click.echo("no worker of this user runs on this machine", err=True)
    return 0 if well else 1


def _fleet(url: str | None) -> str | None:
    try:
        return fleet_of(parse_redis_url(url)) if url else None
    except ValueError as error:
        raise click.UsageError(f"VISIONQ_REDIS_URL: {error}") from None
