"""The health of each worker process of this machine, reported once a second in a file.

The process holds a lock on its file as long as it lives, stopped or wedged or not. So a reader
needs neither Redis nor a reply: an old report under a lock is a process that is stuck. Times
are those of the machine's monotonic clock, which no change of the date touches.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes of a report, which is written at once and so read whole.
_SIZE: Final = 2048


@dataclass(frozen=True)
class HealthReport:
    """A process's report on itself."""

    pid: int
    name: str
    #: When it said so, in seconds of the monotonic clock.
    at: float
    #: What is wrong, if anything is; and what is worth knowing all the same.
    trouble: str | None = None
    redis: str = "unknown"
    jobs: int = 0
    hung: int = 0

    def trouble_at(self, now: float, patience: float) -> str | None:
        """Return the trouble of the process, which may be unable to report it."""
        silent = now - self.at
        if silent > patience:
            return f"it is stuck: its last sign of life is {silent:.0f} s old"
        return self.trouble

    def to_public(self, now: float, patience: float) -> dict[str, Any]:
        """Return the output of `visionq health --json`."""
        said = {name: value for name, value in asdict(self).items() if name != "at"}
        trouble = self.trouble_at(now, patience)
        return {
            **said,
            "age_s": round(now - self.at, 1),
            "healthy": not trouble,
            "trouble": trouble,
        }


def directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder with the reports of this user's processes."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "visionq-health"
    return Path(tempfile.gettempdir()) / f"visionq-health-{os.getuid()}"


def fleet_of(redis_url: str) -> str:
    """Return a name for the workers on one Redis, which tells no password."""
    return hashlib.sha256(redis_url.encode()).hexdigest()[:12]


class ReportFile:
    """The report of this process."""

    def __init__(self, folder: Path, fleet: str) -> None:
        """Take the lock.

        Raises:
            OSError: no file can be written there, or the folder is another user's.
        """
        self._path = folder / f"{fleet}-{os.getpid()}"
        try:
            self._file = _opened(self._path)
        except FileNotFoundError:  # another process has just left, and taken the folder with it
            self._file = _opened(self._path)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, report: HealthReport) -> None:
        """Replace the previous report."""
        text = json.dumps(asdict(report), ensure_ascii=False).encode()
        os.pwrite(self._file, text.ljust(_SIZE), 0)

    def remove(self) -> None:
        """Remove the report as the process ends; the last one removes the folder."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)
        with suppress(OSError):
            self._path.parent.rmdir()


def _opened(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{path.parent} belongs to another user")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def read_reports(folder: Path, fleet: str | None = None) -> list[HealthReport]:
    """Return the reports of live processes, and remove those of dead ones."""
    found = []
    for path in sorted(folder.glob(f"{fleet or '*'}-*")):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if _is_free(file.fileno()):
                path.unlink(missing_ok=True)
                continue
            with suppress(ValueError, TypeError):  # it has not said anything yet
                found.append(HealthReport(**json.loads(file.read())))
    return found


def _is_free(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def now() -> float:
    """Return the time that reports are dated by."""
    return time.monotonic()
