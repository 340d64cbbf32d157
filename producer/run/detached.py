"""Runs without a terminal (`--detach`): their notes, their supervisor, and `visionq runs`."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from visionq.bundled import python_command
from visionq.cli.record import user_directory
from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_UNREACHABLE,
    errors_as_json,
    json_option,
    print_json,
)
from visionq.devstack.process import STEADY, restart_pause
from visionq.devstack.signals import Signals
from visionq.errors import JobNotFound, QueueUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SUPERVISE: Final = python_command("producer.run.detached")
_START_TIMEOUT: Final = 15.0


@dataclass(frozen=True, slots=True)
class DetachedRun:
    """What is noted of a run; its log stands beside the note."""

    id: str
    #: Arguments of `visionq`.
    arguments: list[str]
    source: str
    out: str
    folder: str
    began_at: str
    #: The process that watches over it.
    pid: int = 0
    restarts: int = 0
    ended_at: str | None = None
    exit_code: int | None = None

    @property
    def directory(self) -> Path:
        """Where its note and its log are."""
        return runs_directory() / self.id

    @property
    def log(self) -> Path:
        """What the run says."""
        return self.directory / "log"

    @property
    def is_on(self) -> bool:
        """Whether somebody watches over it: the lock is held as long as its process lives."""
        with suppress(OSError), (self.directory / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @property
    def state(self) -> str:
        """`running`, `ended`, or `died`: then the same command goes on with it."""
        if self.is_on:
            return "running"
        return "died" if self.exit_code is None else "ended"

    def last_line(self) -> str:
        """Return what it said last."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def save(self) -> None:
        """Write the note; readers never see half of it."""
        draft = self.directory / f"run.json.{os.getpid()}"
        draft.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")
        draft.replace(self.directory / "run.json")

    def ended(self, exit_code: int) -> DetachedRun:
        """Return the note of a run that is over."""
        return replace(self, ended_at=moment(), exit_code=exit_code)

    def to_public(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {**asdict(self), "state": self.state, "log": str(self.log), "last": self.last_line()}


def moment() -> str:
    """Return now."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def runs_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where runs are noted."""
    return user_directory("STATE", ".local/state", environ) / "runs"


def all_runs() -> list[DetachedRun]:
    """Return all runs that are noted, the latest first."""
    found = [run for path in runs_directory().glob("*/run.json") if (run := _read(path))]
    return sorted(found, key=lambda run: run.began_at, reverse=True)


def find_run(name: str) -> DetachedRun:
    """Return a run by the beginning of its id.

    Raises:
        JobNotFound: there is none, or more than one.
    """
    found = [run for run in all_runs() if run.id.startswith(name)]
    if len(found) != 1:
        what = "no run" if not found else f"{len(found)} runs"
        raise JobNotFound(f"{what} whose id begins with {name}: see `visionq runs list`")
    return found[0]


def read_run(directory: Path) -> DetachedRun:
    """Return the run whose note stands in a directory."""
    run = _read(directory / "run.json")
    if run is None:
        raise JobNotFound(f"{directory}: no note of a run")
    return run


def _read(path: Path) -> DetachedRun | None:
    try:
        return DetachedRun(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none, or of another version: as good as none
        return None


@contextmanager
def watched(directory: Path) -> Iterator[None]:
    """Show, while the block lasts, that somebody watches over the run; raises `BlockingIOError`."""
    with (directory / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def detach(run_id: str, arguments: Sequence[str], source: str, out: Path) -> DetachedRun:
    """Start the run in a session of its own, and return when it is watched over.

    Raises:
        QueueUnavailable: it did not start; the message names its log.
    """
    run = DetachedRun(run_id, list(arguments), source, str(out), str(Path.cwd()), moment())
    run.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    run.save()
    run.log.write_bytes(b"")
    with run.log.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command
            (*_SUPERVISE, str(run.directory)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + _START_TIMEOUT
    while not (run.is_on or read_run(run.directory).ended_at):
        if process.poll() is not None or time.monotonic() > until:
            raise QueueUnavailable(f"the run did not start; see {run.log}")
        time.sleep(0.05)
    return read_run(run.directory)


def ask_to_stop(run: DetachedRun) -> None:
    """Ask a run to stop: as Ctrl-C does in a terminal."""
    if run.is_on and run.pid:
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGTERM)


_COMMAND: Final = python_command("visionq.cli")
#: Short lives in a row after which a run will not come to life any more.
_HOPELESS: Final = 8
#: Seconds between tries while Redis or the provider is out of reach.
_REACH_PAUSE: Final = 30.0


def main(directory: Path) -> int:
    """Run until the run has ended; returns its exit code."""
    with watched(directory), Signals() as signals:
        run = replace(read_run(directory), pid=os.getpid())
        run.save()
        code = _watch(run, signals)
        read_run(directory).ended(code).save()
    return code


def _watch(run: DetachedRun, signals: Signals) -> int:
    quick_deaths = 0
    while True:
        began = time.monotonic()
        code = _live(run, signals)
        if code >= 0 and code != EXIT_UNREACHABLE:
            return code
        if signals.stops:
            return EXIT_INTERRUPTED
        quick_deaths = quick_deaths + 1 if time.monotonic() - began < STEADY else 1
        if code < 0 and quick_deaths >= _HOPELESS:
            return 1
        pause = _REACH_PAUSE if code == EXIT_UNREACHABLE else restart_pause(quick_deaths)
        print(f"the run ended with {code}; it goes on in {pause:.0f} s", flush=True)  # noqa: T201  # into its log
        signals.wait(pause)
        if signals.stops:
            return EXIT_INTERRUPTED
        run = replace(run, restarts=run.restarts + 1)
        run.save()


def _live(run: DetachedRun, signals: Signals) -> int:
    """Run it once; a request to stop is passed on."""
    passed_on = 0
    with subprocess.Popen((*_COMMAND, *run.arguments), stdin=subprocess.DEVNULL) as process:  # noqa: S603  # our own command
        while process.poll() is None:
            signals.wait(1.0)
            while passed_on < signals.stops:
                passed_on += 1
                process.terminate()
        return process.returncode


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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
