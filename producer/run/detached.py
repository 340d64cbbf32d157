"""Detached runs (`--detach`): their records, their supervisor, and `visionq runs`."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_UNREACHABLE,
    errors_as_json,
    json_option,
    print_json,
)
from visionq.devstack.supervisor import Signals
from visionq.errors import JobNotFound, QueueUnavailable
from visionq.installation import python_command
from visionq.user_files import replacing, user_directory
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SUPERVISOR: Final = python_command("producer.run.detached")
_COMMAND: Final = python_command("visionq.cli")
_START_TIMEOUT: Final = 15.0
#: Seconds before a run is started again: after a crash, and while Redis or the provider is away.
_CRASH_PAUSE: Final = 5.0
_UNREACHABLE_PAUSE: Final = 30.0
#: Crashes in a row, each within seconds, after which a run is given up.
_MOST_CRASHES: Final = 8
_SHORT_LIFE: Final = 10.0
#: Seconds that a run gets to stop: calls in progress are waited for.
_STOP_TIMEOUT: Final = 60.0
_LOOK_EVERY: Final = 0.2


@dataclass(frozen=True, slots=True)
class DetachedRun:
    """The note of a run; its log is beside it."""

    id: str
    #: Arguments of `visionq`.
    arguments: list[str]
    source: str
    out: str
    folder: str
    began_at: str
    #: Process id of the supervisor.
    pid: int = 0
    restarts: int = 0
    ended_at: str | None = None
    exit_code: int | None = None

    @property
    def directory(self) -> Path:
        """The folder of its note and log."""
        return runs_directory() / self.id

    @property
    def log(self) -> Path:
        """The output of the run."""
        return self.directory / "log"

    @property
    def is_on(self) -> bool:
        """Whether its supervisor lives, which holds the lock."""
        with suppress(OSError), (self.directory / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @property
    def state(self) -> str:
        """`running`, `ended`, or `died`; the same command resumes a run that died."""
        if self.is_on:
            return "running"
        return "died" if self.exit_code is None else "ended"

    def last_line(self) -> str:
        """Return the last line of its log."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def save(self) -> None:
        """Write the note atomically."""
        with replacing(self.directory / "run.json") as draft:
            draft.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")

    def to_public(self) -> dict[str, object]:
        """Return the output of `--json`."""
        return {**asdict(self), "state": self.state, "log": str(self.log), "last": self.last_line()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def runs_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of all notes."""
    return user_directory("STATE", ".local/state", environ) / "runs"


def _all_runs() -> list[DetachedRun]:
    """Return all runs, newest first."""
    found = [run for path in runs_directory().glob("*/run.json") if (run := _read(path))]
    return sorted(found, key=lambda run: run.began_at, reverse=True)


def _find_run(name: str) -> DetachedRun:
    """Return the run whose id begins with `name`; raise `JobNotFound` unless there is one."""
    found = [run for run in _all_runs() if run.id.startswith(name)]
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs"
        raise JobNotFound(f"{what} whose id begins with {name}: see `visionq runs list`")
    return found[0]


def _read_run(directory: Path) -> DetachedRun:
    run = _read(directory / "run.json")
    if run is None:
        raise JobNotFound(f"{directory}: no note of a run")
    return run


def _read(path: Path) -> DetachedRun | None:
    try:
        return DetachedRun(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none, or one of another version
        return None


def detach(run_id: str, arguments: Sequence[str], source: str, out: Path) -> DetachedRun:
    """Start the run under a supervisor in a new session.

    Raises:
        QueueUnavailable: it did not start; the message names its log.
    """
    run = DetachedRun(run_id, list(arguments), source, str(out), str(Path.cwd()), _now())
    run.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    run.save()
    run.log.write_bytes(b"")
    with run.log.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command
            (*_SUPERVISOR, str(run.directory)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + _START_TIMEOUT
    while not (run.is_on or _read_run(run.directory).ended_at):
        if process.poll() is not None or time.monotonic() > until:
            raise QueueUnavailable(f"the run did not start; see {run.log}")
        time.sleep(0.05)
    return _read_run(run.directory)


# The supervisor -----------------------------------------------------------------------------------


def supervise(directory: Path) -> int:
    """Run until the run has ended, again after a crash; return its exit code."""
    with (directory / "lock").open("wb") as lock, Signals() as signals:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        run = replace(_read_run(directory), pid=os.getpid())
        crashes = 0
        while True:
            run.save()
            began = time.monotonic()
            code = _run_once(run, signals)
            crashes = crashes + 1 if code < 0 and time.monotonic() - began < _SHORT_LIFE else 0
            if 0 <= code != EXIT_UNREACHABLE or signals.stops or crashes >= _MOST_CRASHES:
                break
            pause = _UNREACHABLE_PAUSE if code == EXIT_UNREACHABLE else _CRASH_PAUSE
            print(f"the run ended with {code}; it starts again in {pause:.0f} s", flush=True)  # noqa: T201  # into its log
            signals.wait(pause)
            if signals.stops:
                break
            run = replace(run, restarts=run.restarts + 1)
        if code < 0 or code == EXIT_UNREACHABLE:
            code = EXIT_INTERRUPTED if signals.stops else EXIT_FAILED
        replace(run, ended_at=_now(), exit_code=code).save()
    return code


def _run_once(run: DetachedRun, signals: Signals) -> int:
    """Run the command; pass requests to stop on to it."""
    passed_on = 0
    with subprocess.Popen((*_COMMAND, *run.arguments), stdin=subprocess.DEVNULL) as process:  # noqa: S603  # our own command
        while process.poll() is None:
            signals.wait(1.0)
            while passed_on < signals.stops:
                passed_on += 1
                process.terminate()
        return process.returncode


# `visionq runs` -----------------------------------------------------------------------------------


@click.group()
def runs() -> None:
    """List, show, follow and stop detached runs."""


@runs.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List runs, latest first."""
    found = _all_runs()
    if as_json:
        print_json([run.to_public() for run in found])
        return
    if not found:
        click.echo("no runs: start one with `visionq run … --detach`")
    for run in found:
        click.echo(f"{run.id}  {_state(run):<8} {_local(run.began_at)}  {run.out}")
        click.echo(f"    {run.last_line()}")


@runs.command()
@click.argument("run_id", metavar="ID")
@json_option
def show(*, run_id: str, as_json: bool) -> None:
    """Show the state, command and log of a run."""
    with errors_as_json(as_json):
        run = _find_run(run_id)
        if as_json:
            print_json(run.to_public())
            return
    rows = {
        "id": run.id,
        "state": _state(run),
        "source": run.source,
        "out": run.out,
        "began": _local(run.began_at),
        "ended": _local(run.ended_at) if run.ended_at else "",
        "restarted": counted(run.restarts, "time") if run.restarts else "",
        "command": f"visionq {' '.join(run.arguments)}",
        "folder": run.folder,
        "log": str(run.log),
        "last line": run.last_line(),
    }
    for name, value in rows.items():
        if value:
            click.echo(f"{click.style(f'{name:<12}', dim=True)}{value}")


@runs.command()
@click.argument("run_id", metavar="ID")
def attach(*, run_id: str) -> int:
    """Show the output of a run until it ends, and exit as it does.

    Ctrl-C leaves the run alone.
    """
    run = _find_run(run_id)
    try:
        with run.log.open("r", encoding="utf-8", errors="replace") as log:
            while True:
                is_on = run.is_on  # before reading: the last lines are read after it has ended
                sys.stdout.write(log.read())
                sys.stdout.flush()
                if not is_on:
                    break
                time.sleep(_LOOK_EVERY)
    except KeyboardInterrupt:
        click.echo(f"{run.id} goes on", err=True)
        return EXIT_OK
    code = _find_run(run.id).exit_code
    return EXIT_FAILED if code is None else code


@runs.command()
@click.argument("run_id", metavar="ID")
@json_option
def stop(*, run_id: str, as_json: bool) -> int:
    """Stop a run as Ctrl-C does; the command that started it resumes it later."""
    with errors_as_json(as_json):
        run = _find_run(run_id)
    if run.is_on and run.pid:
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGTERM)
    until = time.monotonic() + _STOP_TIMEOUT
    while run.is_on and time.monotonic() < until:
        time.sleep(_LOOK_EVERY)
    run = _find_run(run.id)
    if as_json:
        print_json(run.to_public())
    else:
        click.echo(f"{run.id} {_state(run)}: {run.last_line()}")
    return EXIT_FAILED if run.is_on else EXIT_OK


def _local(moment: str) -> str:
    """Return a moment by the clock of this machine, with its zone."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _state(run: DetachedRun) -> str:
    return run.state if run.exit_code in (None, 0) else f"{run.state} ({run.exit_code})"


if __name__ == "__main__":
    sys.exit(supervise(Path(sys.argv[1])))
