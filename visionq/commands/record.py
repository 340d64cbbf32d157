"""The note that a running `visionq up` leaves for the user's other commands."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class StackRecord:
    """Where the parts of a running stack are. Holds passwords: only the user may read it."""

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

    def with_pids(self, pids: dict[str, list[int]]) -> StackRecord:
        """Return the record of the same stack after a child was started again."""
        return replace(self, pids=pids)

    def to_public(self) -> dict[str, object]:
        """Return what `up --json` prints: everything but `up`'s own id; absent parts left out."""
        parts = {name: value for name, value in asdict(self).items() if name != "pid"}
        required = {"simulator_url"}
        return {name: value for name, value in parts.items() if value or name in required}


def user_directory(kind: str, fallback: str, environ: Mapping[str, str]) -> Path:
    """Return visionq's directory below `$XDG_<kind>_HOME`, by default below `~/<fallback>`."""
    base = environ.get(f"XDG_{kind}_HOME", "")
    # The XDG specification asks to ignore a relative path.
    return (Path(base) if Path(base).is_absolute() else Path.home() / fallback) / "visionq"


def record_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file of the record in the user's state directory."""
    return user_directory("STATE", ".local/state", environ) / "stack.json"


def read_record(environ: Mapping[str, str] = os.environ) -> StackRecord | None:
    """Return the record of the stack that was started last, if it still runs."""
    try:
        record = StackRecord(**json.loads(record_path(environ).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none, or of another version: as good as none
        return None
    return record if _is_alive(record.pid) else None


def write_record(record: StackRecord, environ: Mapping[str, str] = os.environ) -> None:
    """Make `record` the one that other commands find; readers never see half of it."""
    path = record_path(environ)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{record.pid}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(asdict(record), file)
    draft.replace(path)


def is_own_record(record: StackRecord, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether commands still find this stack, and not one started after it."""
    current = read_record(environ)
    return current is not None and current.pid == record.pid


def remove_record(record: StackRecord, environ: Mapping[str, str] = os.environ) -> None:
    """Remove the record, unless another stack has put its own in its place."""
    if is_own_record(record, environ):
        with suppress(FileNotFoundError):
            record_path(environ).unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives and is somebody else's, so it is no stack of this user
        return False
    return True
