"""Plan a stack before its first process starts: directory, ports, passwords, provider."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from visionq.devstack.children import StackPlan
from visionq.devstack.ports import free_ports, is_free
from visionq.devstack.redis_server import RedisConfig
from visionq.pricing.flex import longest_call
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

    from visionq.settings import Settings

#: The file that says what kind of answers a directory holds.
_MARK: Final = "answers"
#: Rights of everybody but the owner.
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
#: What a worker gets beyond its longest call, to write down the outcome.
_PATIENCE: Final = 30.0
PORT_OPTIONS: Final = (
    "--redis-port", "--simulator-port", "--flower-port", "--gateway-port", "--metrics-port",
)  # fmt: skip


@dataclass(frozen=True)
class StackOptions:
    """Options of the command line."""

    #: None: as many as there are cores for this process.
    workers: int | None
    concurrency: int
    #: None: `default_dir` for paid answers, a passing one for simulated answers.
    data_dir: Path | None
    simulate: bool
    #: Of `PORT_OPTIONS`; 0 takes a free one.
    ports: tuple[int, ...]


@contextmanager
def planned(
    wishes: StackOptions,
    settings: Settings,
    environment: Mapping[str, str],
    default_dir: Path,
    random: Random,
) -> Iterator[StackPlan]:
    """Return the plan, and lock its data directory while the block lasts.

    Raises:
        ConfigurationError: another stack uses the directory, or it holds answers of another kind.
        QueueUnavailable: no free ports.
    """
    key = None if wishes.simulate else settings.api_key
    simulated = key is None
    chosen = wishes.data_dir or (None if simulated else default_dir)
    with _data_dir(chosen) as data_dir:
        _check_kind(data_dir, "simulated" if simulated else "paid")
        _check_ports(wishes.ports)
        free = iter(free_ports(len(wishes.ports), random))
        redis_port, simulator_port, flower_port, gateway_port, exporter_port = (
            port or next(free) for port in wishes.ports
        )
        yield StackPlan(
            data_dir=data_dir,
            passing=chosen is None,
            workers=wishes.workers or _cores(),
            concurrency=wishes.concurrency,
            redis=RedisConfig(data_dir, redis_port, token_urlsafe(24)),
            simulator_port=simulator_port if simulated else None,
            base_url=settings.base_url,
            api_key=key.get_secret_value() if key else None,
            flower_port=flower_port,
            flower_user="visionq",
            flower_password=environment.get("VISIONQ_FLOWER_PASSWORD") or token_urlsafe(12),
            gateway_port=gateway_port,
            gateway_key=environment.get("VISIONQ_GATEWAY_KEY") or f"vq-{token_urlsafe(32)}",
            exporter_port=exporter_port,
            worker_patience=longest_call(settings) + _PATIENCE,
            environment=environment,
            nonce=token_urlsafe(16),
        )


@contextmanager
def _data_dir(wanted: Path | None) -> Iterator[Path]:
    """Create and lock the directory; a temporary one is removed at the end.

    It stays when the run fails, for its logs.
    """
    path = wanted
    try:
        path = Path(tempfile.mkdtemp(prefix="visionq-")) if wanted is None else wanted.resolve()
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _close(path)
        lock_file = (path / "lock").open("w")
    except OSError as error:
        raise ConfigurationError(
            f"--data-dir: {path or tempfile.gettempdir()} can't be used ({error.strerror});"
            " choose another directory"
        ) from error
    with lock_file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"another `visionq up` uses {path}: choose another --data-dir"
            ) from None
        yield path
    if wanted is None:
        shutil.rmtree(path)


def _close(path: Path) -> None:
    """Make the directory private: it holds prompts, pictures and secrets.

    Raises:
        ConfigurationError: it is another user's, or others use it for something else.
    """
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"{path} belongs to another user: choose another --data-dir")
    if not status.st_mode & _OTHERS:
        return
    if not (path / _MARK).exists() and any(path.iterdir()):
        raise ConfigurationError(
            f"{path} is open to others on this machine and holds files that are not visionq's:"
            " choose another --data-dir, or close it (chmod 700)"
        )
    path.chmod(0o700)


def _check_ports(ports: tuple[int, ...]) -> None:
    """Refuse a port on which another program listens."""
    for option, port in zip(PORT_OPTIONS, ports, strict=True):
        if port and not is_free(port):
            raise ConfigurationError(f"{option}: another program listens on {port}; choose another")


def _check_kind(data_dir: Path, kind: str) -> None:
    """Refuse a directory of the other kind: paid or simulated answers."""
    mark = data_dir / _MARK
    found = mark.read_text(encoding="utf-8").strip() if mark.exists() else kind
    if found != kind:
        raise ConfigurationError(
            f"{data_dir} holds {found} answers and this run gives {kind} ones:"
            " choose another --data-dir"
        )
    mark.write_text(f"{kind}\n", encoding="utf-8")


def _cores() -> int:
    """Return the cores this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
