"""`visionq up`: Redis, provider or simulator, workers and Flower on this machine."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Final

import click

from visionq.cli.provider_account import get_model_list, provider_at
from visionq.cli.record import (
    StackRecord,
    remove_record,
    write_record,
)
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    json_option,
    print_json,
    with_options,
    write_nowhere,
)
from visionq.detectors import load_detectors
from visionq.devstack.children import (
    exporter_spec,
    flower_spec,
    gateway_spec,
    redis_spec,
    simulator_specs,
    worker_specs,
)
from visionq.devstack.planning import PORT_OPTIONS, StackOptions, planned
from visionq.devstack.supervisor import Signals, Supervisor
from visionq.http_checks import prepare_http_environment
from visionq.pricing.model_list import unlisted_warning
from visionq.pricing.model_options import load_option_table
from visionq.pricing.models import warning_for
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.settings import load_settings
from visionq.user_files import user_directory
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from visionq.devstack.children import StackPlan
    from visionq.settings import Settings

#: Seconds for each of the two stages to become ready.
_START_TIMEOUT: Final = 90
_LINES_SHOWN: Final = 8
#: Characters of a child's name, and the fewest of its lines.
_LABEL: Final = 10
_LEAST_ROOM: Final = 40

#: What people and programs use beside the workers, by its role.
_SERVICES: Final = {"flower": flower_spec, "gateway": gateway_spec, "exporter": exporter_spec}

_port = click.IntRange(0, 65535)


@click.command()
@json_option
@click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: cores]")
@click.option(
    "--concurrency", type=click.IntRange(1), default=64, show_default=True, help="Threads of each."
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where jobs, answers and logs are kept. By default in your data directory; simulated"
    " answers in a new one that is removed at the end.",
)
@click.option("--simulate", is_flag=True, help="Use the simulator although there is a key.")
@with_options(
    *(
        click.option(name, type=_port, default=0, help="Default: a free one.")
        for name in PORT_OPTIONS
    )
)
@click.option("--temporary", is_flag=True, hidden=True, help="End with stdin; leave no record.")
@click.option(
    "--service",
    "services",
    type=click.Choice(list(_SERVICES)),
    multiple=True,
    hidden=True,
    help="Run it beside the workers. By default all, and none where temporary.",
)
def up(
    *,
    as_json: bool,
    workers: int | None,
    concurrency: int,
    data_dir: Path | None,
    simulate: bool,
    temporary: bool,
    services: tuple[str, ...],
    **ports: int,
) -> int:
    """Run the whole stack on this machine until it is stopped.

    Without PROXYAPI_API_KEY nothing is sent to the internet: a simulator answers instead.
    """
    wanted = tuple(ports[name.strip("-").replace("-", "_")] for name in PORT_OPTIONS)
    wishes = StackOptions(workers, concurrency, data_dir, simulate, wanted)
    # What its children write holds prompts, pictures and answers: nobody else here reads it.
    os.umask(0o077)
    prepare_http_environment(os.environ)
    settings = load_settings()
    # Of what can't be used one line here says more than the end of a worker's log.
    load_prices(settings.prices_file)
    load_rules(settings.vision_file)
    load_option_table(settings.options_file).check_default_effort(settings.default_effort)
    load_detectors(settings.detectors)
    default_dir = user_directory("DATA", ".local/share", os.environ) / "stack"
    with (
        planned(wishes, settings, os.environ, default_dir, SystemRandom()) as plan,
        Signals(end_with=sys.stdin.fileno() if temporary else None) as signals,
    ):
        supervisor = Supervisor(signals, time.monotonic)
        read = True
        try:
            running = services or (() if temporary else tuple(_SERVICES))
            _start(supervisor, plan, running)
            if not supervisor.stopping:
                warn = partial(_warn_of_model, settings, plan)
                _serve(supervisor, plan, running, warn, as_json=as_json, recorded=not temporary)
            if not as_json:
                click.echo("Ending; a call that has begun is finished first.", err=True)
        except BrokenPipeError:
            # The reader has gone (`| head`): end as if asked to, and write no more.
            read, supervisor.show = False, None
            write_nowhere()
        finally:
            peaceful = supervisor.stop()
    if not read:
        return EXIT_FAILED
    return EXIT_OK if peaceful else EXIT_INTERRUPTED


def _start(supervisor: Supervisor, plan: StackPlan, services: tuple[str, ...]) -> None:
    """Start Redis and the simulator, then workers, gateway and Flower."""
    supervisor.start([redis_spec(plan), *simulator_specs(plan)], _START_TIMEOUT)
    if not supervisor.stopping:
        for_people = [_SERVICES[service](plan) for service in services]
        supervisor.start([*worker_specs(plan), *for_people], _START_TIMEOUT)


def _serve(
    supervisor: Supervisor,
    plan: StackPlan,
    services: tuple[str, ...],
    warn: Callable[[], None],
    *,
    as_json: bool,
    recorded: bool,
) -> None:
    """Print where everything is, and keep it running until asked to stop."""
    flower, gateway, exporter = (service in services for service in _SERVICES)
    record = StackRecord(
        pid=os.getpid(),
        redis_url=plan.redis.url,
        provider_url=plan.provider_url,
        simulator_url=plan.simulator_url,
        flower_url=plan.flower_url if flower else None,
        flower_user=plan.flower_user if flower else None,
        flower_password=plan.flower_password if flower else None,
        gateway_url=plan.gateway_url if gateway else None,
        gateway_key=plan.gateway_key if gateway else None,
        metrics_url=plan.metrics_url if exporter else None,
        pids=supervisor.pids(),
        started_at=time.time(),
    )

    def renew() -> None:
        write_record(record.with_pids(supervisor.pids()))

    if recorded:
        write_record(record)
        supervisor.on_restart = renew
    try:
        if as_json:
            print_json(record.to_public())
        else:
            _print_table(plan)
            supervisor.show = _show
        if recorded:
            warn()
        supervisor.watch()
    finally:
        if recorded:
            remove_record(record)


def _warn_of_model(settings: Settings, plan: StackPlan) -> None:
    """Warn on stderr if the configured model is not listed, or ends soon."""
    model, today = settings.default_model, datetime.now(UTC).date()
    simulated = plan.simulator_url is not None
    provider = provider_at(plan.provider_url, settings, simulated=simulated)
    listed = get_model_list(provider)
    for said in (
        unlisted_warning(model, listed, load_rules(settings.vision_file), today),
        warning_for(model, today, listed.ends if listed else {}),
    ):
        if said is not None:
            click.echo(f"warning: {said} (VISIONQ_DEFAULT_MODEL)", err=True)


def _print_table(plan: StackPlan) -> None:
    """Print the addresses of all parts, whole, to be copied."""
    provider = plan.simulator_url or plan.provider_url
    answers = "simulated: nothing leaves this machine" if plan.simulator_url else "real and paid"
    rows = (
        ("Redis", plan.redis.url),
        ("Provider", f"{provider}  ({answers})"),
        ("Workers", f"{plan.workers} with {counted(plan.concurrency, 'call')} at a time each"),
        ("Flower", f"{plan.flower_url}  (user {plan.flower_user}, {plan.flower_password})"),
        ("Gateway", f"{plan.gateway_url}/v1  (key {plan.gateway_key})"),
        ("Metrics", plan.metrics_url),
        ("Data, logs", f"{plan.data_dir}  ({'removed at the end' if plan.passing else 'kept'})"),
    )
    for label, value in rows:
        click.echo(f"{click.style(f'{label:<11}', bold=True)} {value}")
    click.echo("Ready. Ctrl-C ends it.")


def _show(name: str, lines: list[str]) -> None:
    """Show a child's newest lines, whole; in a terminal they are wrapped by words."""
    if len(lines) > _LINES_SHOWN:
        click.echo(
            f"{'':>{_LABEL}} │ {counted(len(lines) - _LINES_SHOWN, 'line')}, and then:", err=True
        )
    for line in filter(str.strip, lines[-_LINES_SHOWN:]):
        label = name.removeprefix("visionq-")
        for part in _wrapped(line):
            click.echo(f"{label:>{_LABEL}} │ {part}", err=True)
            label = ""


def _wrapped(line: str) -> list[str]:
    if not sys.stderr.isatty():
        return [line]
    room = shutil.get_terminal_size().columns - _LABEL - len(" │ ")
    return textwrap.wrap(line, max(_LEAST_ROOM, room))
