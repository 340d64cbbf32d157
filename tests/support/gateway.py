"""A gateway as a process of its own, in front of a fleet, and what its clients send."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from openai import OpenAI

from producer.gateway.access import Scope, add_key, describe_key, new_secret
from tests.support.fleet import Fleet, WorkerProcess, running_fleet
from tests.support.pictures import data_url
from tests.support.waiting import until
from tests.support.warm_processes import WarmProcess
from visionq.devstack.children import answers
from visionq.devstack.ports import free_ports
from visionq.redis_connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KEY = "vq-a-key-for-tests-alone"


@dataclass
class Gateway:
    folder: Path
    redis_url: str
    port: int
    extra: dict[str, str]
    #: Where it keeps files; of another gateway's, if they share them.
    files: Path
    process: WorkerProcess = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {
            **os.environ,
            "VISIONQ_REDIS_URL": self.redis_url,
            "VISIONQ_GATEWAY_KEY": KEY,
            **self.extra,
        }
        command = ["gateway", "--port", str(self.port), "--files-dir", str(self.files)]
        path = self.folder / "gateway.log"
        if "PYTHONPATH" not in self.extra:
            self.process = WarmProcess(command, environment, path)
        else:  # what it changes must be imported again
            cold = [sys.executable, "-m", "visionq.cli", *command]
            with path.open("ab") as log:
                self.process = subprocess.Popen(cold, env=environment, stdout=log, stderr=log)
        until(lambda: answers(self.port, "/healthz"), 60, self.log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def openai(self, key: str = KEY, **options: Any) -> OpenAI:
        return OpenAI(api_key=key, base_url=f"{self.url}/v1", **options)

    def http(self, key: str = KEY) -> httpx2.Client:
        headers = {"authorization": f"Bearer {key}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=60)

    def new_key(self, tenant: str, scopes: Iterable[Scope] = Scope) -> str:
        secret = new_secret()
        with connect(self.redis_url, "tests") as redis:
            add_key(redis, secret, describe_key(secret, tenant, "test", scopes))
        return secret


@contextmanager
def running_gateway(
    folder: Path, redis_url: str, files: Path | None = None, /, **extra: str
) -> Iterator[Gateway]:
    port = free_ports(1, Random())[0]
    gateway = Gateway(folder, redis_url, port, extra, files or folder / "files")
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


@contextmanager
def gateway_and_fleet(folder: Path, **extra: str) -> Iterator[tuple[Gateway, Fleet]]:
    with (
        running_fleet(folder, workers=1) as fleet,
        running_gateway(folder, fleet.server.url, **extra) as gateway,
    ):
        yield gateway, fleet


def asked(number: int, text: str = "What is in this picture?") -> list[Any]:
    """The input of a response about one picture."""
    image = {"type": "input_image", "image_url": data_url(number), "detail": "low"}
    return [{"role": "user", "content": [{"type": "input_text", "text": text}, image]}]


def said(number: int, text: str = "What is in this picture?") -> list[Any]:
    """The messages of a completion about one picture."""
    image = {"type": "image_url", "image_url": {"url": data_url(number)}}
    return [{"role": "user", "content": [{"type": "text", "text": text}, image]}]


def node_folder(folder: Path) -> Path:
    """Install the official package `openai` for Node, or leave the test out."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "openai"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm can't reach its packages in time")
    if done.returncode:
        pytest.skip(f"npm can't install openai: {done.stderr.decode()[-200:]}")
    return folder


def run_node(folder: Path, script: Path, **environment: str) -> Any:
    """Run a script with Node, and return what it reported as JSON."""
    shutil.copy(script, folder)
    done = subprocess.run(
        ["node", script.name],  # noqa: S607  # found on PATH above
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
