"""`visionq runs`: the runs that were begun with `--detach`."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from producer.run.detached import all_runs, find_run
from producer.run.detached import stop as ask_to_stop
from visionq.cli.shared import EXIT_FAILED, EXIT_OK, errors_as_json, json_option, print_json

if TYPE_CHECKING:
    from producer.run.detached import DetachedRun

#: Seconds that a run gets to stop: a call that is out is waited for.
_PATIENCE: Final = 60.0
_LOOK_EVERY: Final = 0.2


@click.group()
def runs() -> None:
    """Look at runs that go on without a terminal, and stop them."""


@runs.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List them, the latest first."""
    found = all_runs()
    if as_json:
        print_json([run.to_public() for run in found])
        return
    if not found:
        click.echo("no runs: `visionq run … --detach` begins one")
    for run in found:
        click.echo(f"{run.id}  {_state(run):<8} {local(run.began_at)}  {run.out}")
        click.echo(f"    {run.last_line()}")


@runs.command()
@click.argument("run_id", metavar="ID")
@json_option
def show(*, run_id: str, as_json: bool) -> None:
    """Show one: how it stands, what it was told, where its log is."""
    with errors_as_json(as_json):
        run = find_run(run_id)
        if as_json:
            print_json(run.to_public())
            return
    rows = {
        "id": run.id,
        "state": _state(run),
        "source": run.source,
        "out": run.out,
        "began": local(run.began_at),
        "ended": local(run.ended_at) if run.ended_at else "",
        "begun again": f"{run.restarts} times" if run.restarts else "",
        "command": f"visionq {' '.join(run.arguments)}",
        "folder": run.folder,
        "log": str(run.log),
        "says": run.last_line(),
    }
    for name, value in rows.items():
        if value:
            click.echo(f"{click.style(f'{name:<12}', dim=True)}{value}")


@runs.command()
@click.argument("run_id", metavar="ID")
def attach(*, run_id: str) -> int:
    """Show what a run says until it ends; Ctrl-C leaves it alone. Exits as the run does."""
    run = find_run(run_id)
    try:
        with run.log.open("r", encoding="utf-8", errors="replace") as log:
            while True:
                is_on = run.is_on  # asked first: what it says last is read after it
                sys.stdout.write(log.read())
                sys.stdout.flush()
                if not is_on:
                    break
                time.sleep(_LOOK_EVERY)
    except KeyboardInterrupt:
        click.echo(f"{run.id} goes on", err=True)
        return EXIT_OK
    code = find_run(run.id).exit_code
    return EXIT_FAILED if code is None else code


@runs.command()
@click.argument("run_id", metavar="ID")
@json_option
def stop(*, run_id: str, as_json: bool) -> int:
    """Stop a run as Ctrl-C does; the command that began it goes on with it later."""
    with errors_as_json(as_json):
        run = find_run(run_id)
    ask_to_stop(run)
    until = time.monotonic() + _PATIENCE
    while run.is_on and time.monotonic() < until:
        time.sleep(_LOOK_EVERY)
    run = find_run(run.id)
    if as_json:
        print_json(run.to_public())
    else:
        click.echo(f"{run.id} {_state(run)}: {run.last_line()}")
    return EXIT_FAILED if run.is_on else EXIT_OK


def local(moment: str) -> str:
    """Return a moment by the clock of this machine, with its zone."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _state(run: DetachedRun) -> str:
    return run.state if run.exit_code in (None, 0) else f"{run.state} ({run.exit_code})"
