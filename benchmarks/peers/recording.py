"""The recording provider as a process, and its log."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.devstack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds to wait for a question; importing takes long on a busy machine.
_PATIENCE: Final = 120.0


@dataclass(frozen=True)
class Recorder:
    """A provider on loopback."""

    url: str

    @property
    def provider_url(self) -> str:
        """Return the base URL for an OpenAI client."""
        return f"{self.url}/openai/v1"

    def log(self) -> dict[int, tuple[float, float]]:
        """Return question number → (arrival, answer) times."""
        with urllib.request.urlopen(f"{self.url}/log") as answer:  # noqa: S310  # our own address
            kept = json.load(answer)
        return {int(number): (came, left) for number, (came, left) in kept.items()}

    def wait_for(self, number: int, patience: float = _PATIENCE) -> tuple[float, float]:
        """Wait for a question. Raises `RuntimeError` if it never arrives."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if number in (kept := self.log()):
                return kept[number]
            time.sleep(0.02)
        raise RuntimeError(f"question {number} never arrived")


@contextmanager
def recorder(latency: float) -> Iterator[Recorder]:
    """Run a recording provider inside the block."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.peers.recorder", str(port), str(latency))
    process = subprocess.Popen(command)  # noqa: S603  # our own module
    try:
        running = Recorder(f"http://127.0.0.1:{port}")
        _await(running)
        yield running
    finally:
        process.terminate()
        process.wait()


def _await(running: Recorder) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            running.log()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
