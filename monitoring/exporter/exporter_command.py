"""`visionq exporter`: the fleet's metrics for Prometheus."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Final

import click

from visionq.cli.shared import find_redis_url
from visionq.errors import QueueUnavailable
from visionq.ledger import Ledger, ledger_options
from visionq.redis_connection import connect
from visionq.settings import load_settings

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

_CLIENT_NAME: Final = "visionq-exporter"
#: Seconds for one reply of Redis: a scrape has ten.
_PATIENCE: Final = 3


@click.command()
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=9540, show_default=True)
@click.option("--name", default=_CLIENT_NAME, show_default=True, help="Shows in the process list.")
def exporter(address: str, port: int, name: str) -> None:  # noqa: ARG001  # for `ps` alone
    """Export the state of the whole fleet to Prometheus: GET /metrics.

    One is enough for any number of workers: it reads what they keep in Redis. It has no
    password and shows names of tenants and models, so let only Prometheus reach it.
    """
    settings = load_settings()
    url = find_redis_url(settings)

    from monitoring.exporter.collector import FleetCollector  # noqa: PLC0415  # only it needs them
    from monitoring.exporter.serving import build_app, make_exporter  # noqa: PLC0415  # likewise

    with connect(url, _CLIENT_NAME, retries=0, patience=_PATIENCE) as redis:
        ledger = Ledger(redis, ledger_options(settings))
        collector = FleetCollector(ledger, time.monotonic)
        try:
            server = make_exporter(build_app(collector), address, port)
        except OSError as error:
            message = f"can't listen on {address}:{port} ({error.strerror}): choose another --port"
            raise QueueUnavailable(message) from error
        shown = f"[{address}]" if ":" in address else address
        click.echo(f"Metrics on http://{shown}:{server.server_port}/metrics", err=True)
        _serve(server)


def _serve(server: WSGIServer) -> None:
    """Serve until a signal asks to stop."""

    def stop(*_: object) -> None:
        # In a thread of its own: it waits for the loop that this handler interrupts.
        threading.Thread(target=server.shutdown, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with server:
        server.serve_forever(poll_interval=0.2)
