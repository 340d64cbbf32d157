"""Runs that go on without a terminal: their notes in the user's state directory."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from visionq.bundled import python_command
from visionq.cli.record import user_directory
from visionq.errors import JobNotFound, QueueUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SUPERVISE: Final = python_command("producer.run.supervise")
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


def stop(run: DetachedRun) -> None:
    """Ask a run to stop: as Ctrl-C does in a terminal."""
    if run.is_on and run.pid:
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGTERM)
