"""`visionq status`: the state of the fleet on one screen."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import click

from visionq.cli.record import is_simulated
from visionq.cli.screen import people_console
from visionq.cli.shared import (
    error_document,
    errors_as_json,
    find_redis_url,
    json_option,
    print_json,
)
from visionq.errors import QueueUnavailable
from visionq.http_checks import public_address
from visionq.ledger.overview import overview
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from rich.console import RenderableType

    from visionq.ledger.overview import Overview


@click.command()
@click.option("--watch", is_flag=True, help="Redraw until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2,
    show_default=True,
    help="Seconds between redraws.",
)
@json_option
def status(*, watch: bool, interval: float, as_json: bool) -> None:
    """Show backlog, rate, workers, gate and spend on one screen.

    It takes as long with a million jobs queued as with none. With --watch --json, each page is a
    line of JSON.
    """
    with errors_as_json(as_json):
        settings = load_settings()
        url = find_redis_url(settings)
        with connect(url, "visionq-cli") as redis:
            read = partial(_read, redis, settings.time_zone)
            simulated, pause = is_simulated(url), interval if watch else None
            if as_json:
                _print_pages(read, simulated, pause)
            else:
                _show(read, public_address(url), pause, simulated=simulated is True)


def _read(redis: Redis, time_zone: str) -> Overview:
    with as_queue_unavailable():
        return overview(redis, time_zone)


def _print_pages(
    read: Callable[[], Overview], simulated: bool | None, interval: float | None
) -> None:
    print_json({**read().to_public(), "simulated": simulated})
    while interval is not None:
        time.sleep(interval)
        try:
            print_json({**read().to_public(), "simulated": simulated})
        except QueueUnavailable as error:  # a watch outlives a restart of Redis
            print_json(error_document(error))


def _show(
    read: Callable[[], Overview], address: str, interval: float | None, *, simulated: bool
) -> None:
    from visionq.cli.status_screen import screen  # noqa: PLC0415  # only people need it

    console = people_console()
    page = read()
    if interval is None:
        console.print(screen(page, address, simulated=simulated))
        return
    from rich.live import Live  # noqa: PLC0415  # likewise

    with Live(
        screen(page, address, simulated=simulated), console=console, auto_refresh=False
    ) as live:
        while True:
            time.sleep(interval)
            live.update(_next(read, address, simulated=simulated), refresh=True)


def _next(read: Callable[[], Overview], address: str, *, simulated: bool) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415  # see _show

    from visionq.cli.status_screen import screen  # noqa: PLC0415  # likewise

    try:
        return screen(read(), address, simulated=simulated)
    except QueueUnavailable as error:  # a watch outlives a restart of Redis
        return Text(f"{error}; trying again", style="red")
