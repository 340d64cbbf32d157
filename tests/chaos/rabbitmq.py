"""A RabbitMQ of one's own on loopback, with its own data and port mapper; ended by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from tests.chaos.scenario import Skipped
from visionq.devstack.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where packages put a script for the user who starts it. Debian's on PATH changes its user.
_UNWRAPPED: Final = "/usr/lib/rabbitmq/lib"
#: Servers are no users' programs: they may be beside PATH.
_BESIDE: Final = ":/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
#: Seconds in which a node starts on a machine that others use too.
_START: Final = 120


def find_rabbitmq() -> Path:
    """Return the server's script.

    Raises:
        Skipped: none is installed.
    """
    unwrapped = sorted(Path(_UNWRAPPED).glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    found = shutil.which("rabbitmq-server", path=os.environ.get("PATH", "") + _BESIDE)
    if unwrapped:
        return unwrapped[-1]
    if found is None or shutil.which("epmd") is None:
        raise Skipped("rabbitmq-server is not installed (apt install rabbitmq-server)")
    return Path(found)


class RabbitMQ:
    """A node that can be killed and started again on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self._program = find_rabbitmq()
        self._folder = folder
        self._port, self._inner, self.mapper = free_ports(3, SystemRandom())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "rabbitmq.conf"
        config.write_text(f"listeners.tcp.default = 127.0.0.1:{self._port}\n")
        with (self._folder / "out.log").open("ab") as log:
            # A group of its own: the script runs the node as a child.
            self._process = subprocess.Popen(
                [self._program], env=self._environment(), stdout=log, stderr=log,
                cwd=self._folder, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + _START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"rabbitmq-server did not start: see {self._folder}")
            time.sleep(0.2)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        assert process is not None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return {
            **os.environ,
            "HOME": str(folder),  # for the cookie
            "RABBITMQ_NODENAME": f"visionq-chaos-{self._port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_DIST_PORT": str(self._inner),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.mapper),
        }

    def _answers(self) -> bool:
        """Say whether it has greeted a client: a listener alone is not ready yet."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=2) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False


@contextmanager
def running_rabbitmq(folder: Path) -> Iterator[RabbitMQ]:
    server = RabbitMQ(folder)
    with ExitStack() as stack:
        # The node would start a mapper that outlives it.
        mapper = stack.enter_context(
            subprocess.Popen(["epmd", "-address", "127.0.0.1", "-port", str(server.mapper)])  # noqa: S607  # Erlang's
        )
        stack.callback(mapper.terminate)
        stack.callback(server.stop)
        server.start()
        yield server
