"""`python -m visionq.devstack.simulator`: the simulator as a process."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import click

from visionq.devstack.simulator.model_catalogue import Catalogue, load_catalogue
from visionq.devstack.simulator.process import PROCESS_NAME
from visionq.devstack.simulator.refusals import SimulatedRefusal
from visionq.devstack.simulator.server import serve
from visionq.devstack.simulator.simulator_settings import SimulatorSettings, merged

#: Exit code when the address can't be had: a service is out of reach.
OUT_OF_REACH = 3


def _settings(text: str) -> SimulatorSettings:
    """Read settings from JSON; a usage error names the wrong field."""
    try:
        changes = json.loads(text)
    except ValueError:
        raise click.BadParameter("not JSON", param_hint="--settings") from None
    if not isinstance(changes, dict):
        raise click.BadParameter("not a JSON object", param_hint="--settings")
    try:
        return merged(SimulatorSettings(), changes)
    except SimulatedRefusal as refusal:
        first = refusal.body["detail"][0]
        field = ".".join(str(part) for part in first["loc"][1:])
        raise click.BadParameter(f"{field}: {first['msg']}", param_hint="--settings") from None


def _catalogue(prices: Path | None) -> Catalogue:
    """Read the tables; a price table that can't be used is a usage error."""
    try:
        return load_catalogue(prices)
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise click.BadParameter(f"{prices}: {error!r}", param_hint="--prices") from None


@click.command(name=PROCESS_NAME)
@click.option("--name", default=PROCESS_NAME, help="Shows in the process list and in the log.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0: any free one.")
@click.option("--settings", "changes", default="{}", help="Settings to begin with, as JSON.")
@click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="VISIONQ_PRICES_FILE",
    help="Price table in place of the built-in one.",
)
def main(name: str, host: str, port: int, changes: str, prices: Path | None) -> None:
    """Simulate ProxyAPI on this machine: print the address, then serve until stopped."""
    logging.basicConfig(level=logging.INFO, format=f"{name} %(levelname)s %(message)s")
    settings = _settings(changes)
    catalogue = _catalogue(prices)
    try:
        asyncio.run(serve(host, port, catalogue, settings, click.echo))
    except OSError as error:
        click.echo(f"{name}: can't listen on {host}:{port}: {error.strerror or error}", err=True)
        sys.exit(OUT_OF_REACH)


if __name__ == "__main__":
    main()
