"""Start the simulator as a process, for tests, demos and `visionq up`. Needs no aiohttp."""

from __future__ import annotations

import json
import select
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from visionq.errors import ConfigurationError, StartFailed
from visionq.installation import python_command

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What the process is called in the process list.
PROCESS_NAME: Final = "visionq-simulator"
#: Seconds to wait for the start (long, where many others start), for one answer, and for the end.
START_TIMEOUT: Final = 120.0
ANSWER_TIMEOUT: Final = 10.0
END_TIMEOUT: Final = 5.0
OK: Final = 200


def command_line(
    *, host: str = "127.0.0.1", port: int = 0, settings: dict[str, Any] | None = None
) -> list[str]:
    """Return the command of the simulator; port 0 is any free one."""
    return [
        *python_command("visionq.devstack.simulator"),
        *("--name", PROCESS_NAME, "--host", host, "--port", str(port)),
        *("--settings", json.dumps(settings or {})),
    ]


@dataclass(frozen=True)
class RunningSimulator:
    """A simulator that answers at `url`."""

    #: Its root, without a slash at the end.
    url: str
    pid: int

    @property
    def provider_url(self) -> str:
        """Return the base URL for a client of OpenAI."""
        return f"{self.url}/openai/v1"

    def configure(self, **settings: object) -> dict[str, Any]:
        """Change settings; return all of them. Raises `ConfigurationError`."""
        return self._ask("PUT", "/simulator/settings", settings)

    def settings(self) -> dict[str, Any]:
        """Return the current settings."""
        return self._ask("GET", "/simulator/settings")

    def bill(self) -> dict[str, Any]:
        """Return the bill: `calls`, `billed`, `rub`, `digests`."""
        return self._ask("GET", "/simulator/bill")

    def batch_lines(self) -> dict[str, list[str]]:
        """Return `custom_id` → rubles of each charge of a batch line."""
        return self._ask("GET", "/simulator/bill/batch_lines")

    def reset_bill(self) -> None:
        """Begin an empty bill."""
        self._ask("DELETE", "/simulator/bill")

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        address = urlsplit(self.url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_TIMEOUT)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status != OK:
            raise ConfigurationError(f"simulator: {method} {path}: {response.status} {text}")
        answer: dict[str, Any] = json.loads(text)
        return answer


@contextmanager
def running_simulator(
    port: int = 0, *, host: str = "127.0.0.1", **settings: object
) -> Iterator[RunningSimulator]:
    """Run a simulator with these settings while the block lasts.

    It takes calls when the block begins, and has ended when the block has. Its log goes to this
    process's standard error. Raises `StartFailed` if it does not start.
    """
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
        command_line(host=host, port=port, settings=dict(settings)),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield RunningSimulator(_address_of(process), process.pid)
    finally:
        _end(process)


def _address_of(process: subprocess.Popen[str]) -> str:
    """Return the address that the process prints when it is ready."""
    if process.stdout is None:
        raise StartFailed("the simulator's output is not captured")
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT)
    line = process.stdout.readline().strip() if ready else ""
    if not line.startswith("http://"):
        raise StartFailed(f"the simulator did not start (exit code {process.poll()})")
    return line


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(END_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
