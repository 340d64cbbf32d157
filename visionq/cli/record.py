"""The record of a running `visionq up`, by which other commands find it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from visionq.errors import ConfigurationError
from visionq.user_files import replacing, user_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class StackRecord:
    """Addresses of a running stack. Has passwords: only the user may read it."""

    #: Process id of `visionq up` itself.
    pid: int
    redis_url: str
    provider_url: str
    simulator_url: str | None = None
    flower_url: str | None = None
    flower_user: str | None = None
    flower_password: str | None = None
    gateway_url: str | None = None
    gateway_key: str | None = None
    metrics_url: str | None = None
    #: Role → process ids, as they are now.
    pids: dict[str, list[int]] | None = None
    #: Seconds since the epoch.
    started_at: float = 0.0

    def with_pids(self, pids: dict[str, list[int]]) -> StackRecord:
        """Return the record of the same stack after a child was started again."""
        return replace(self, pids=pids)

    def to_public(self) -> dict[str, object]:
        """Return the output of `up --json`: addresses of the parts, absent ones omitted."""
        own = {"pid", "started_at"}
        parts = {name: value for name, value in asdict(self).items() if name not in own}
        required = {"simulator_url"}
        return {name: value for name, value in parts.items() if value or name in required}


def records_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where each running stack of this user leaves its record."""
    return user_directory("STATE", ".local/state", environ) / "stacks"


def record_path(pid: int, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file of the stack whose `visionq up` has this process id."""
    return records_directory(environ) / f"{pid}.json"


def read_record(environ: Mapping[str, str] = os.environ) -> StackRecord | None:
    """Return the record of the stack that was started last, among those that still run."""
    return max(_alive(environ), key=lambda record: record.started_at, default=None)


def _alive(environ: Mapping[str, str]) -> list[StackRecord]:
    found = (_read(path) for path in records_directory(environ).glob("*.json"))
    return [record for record in found if record is not None and _is_alive(record.pid)]


def is_simulated(redis_url: str, environ: Mapping[str, str] = os.environ) -> bool | None:
    """Return whether the stack of a Redis simulates; None: only its workers know."""
    for record in _alive(environ):
        if record.redis_url == redis_url:
            return record.simulator_url is not None
    return None


def write_record(record: StackRecord, environ: Mapping[str, str] = os.environ) -> None:
    """Write the record by which other commands find this stack, atomically.

    Raises:
        ConfigurationError: the user's state directory can't be written.
    """
    path = record_path(record.pid, environ)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path) as draft:
            draft.touch(0o600, exist_ok=False)
            draft.write_text(json.dumps(asdict(record)))
    except OSError as error:
        raise ConfigurationError(
            f"XDG_STATE_HOME: {path.parent} can't be written ({error.strerror}), and commands"
            " could not find this stack; name another directory"
        ) from error


def remove_record(record: StackRecord, environ: Mapping[str, str] = os.environ) -> None:
    """Remove the record, and those of stacks that were killed."""
    for path in records_directory(environ).glob("*.json"):
        other = _read(path)
        if other is None or other.pid == record.pid or not _is_alive(other.pid):
            with suppress(OSError):
                path.unlink()


def _read(path: Path) -> StackRecord | None:
    try:
        return StackRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # gone, or of another version: as good as none
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives and is another user's, so it is no stack of this one
        return False
    return True
