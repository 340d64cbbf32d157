"""`visionq simulator`: the simulated provider on the command line."""

from __future__ import annotations

import os

import click

from visionq.devstack.simulator.process import command_line


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0: any free one.")
@click.option("--latency", type=click.FloatRange(0, 3600), help="Seconds before each answer.")
@click.option(
    "--requests-per-minute", type=click.IntRange(min=1), help="Limit of each model; else none."
)
@click.option(
    "--tokens-per-minute", type=click.IntRange(min=1), help="Limit of each model; else none."
)
@click.option("--seed", type=int, help="Start of the random sequence behind faults.")
def simulator(  # noqa: PLR0917  # click passes every option by name
    host: str,
    port: int,
    latency: float | None,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    seed: int | None,
) -> None:
    """Run a simulated ProxyAPI on this machine.

    It prints its address as one line and serves until it is stopped. Point PROXYAPI_BASE_URL at
    that address with /openai/v1 behind it; any key will do. PUT /simulator/settings changes how
    it behaves, GET /simulator/bill shows what it charged.
    """
    given = {
        "latency_s": latency,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "seed": seed,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    command = command_line(host=host, port=port, settings=settings)
    # This process becomes the simulator: one process, its own name, signals straight to it.
    os.execv(command[0], command)  # noqa: S606  # our own interpreter and module, no shell
