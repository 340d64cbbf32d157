"""A real Prometheus on a real exporter, for tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.support.waiting import until
from tests.support.warm_processes import WarmProcess
from visionq.devstack.children import answers
from visionq.devstack.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet

PROMETHEUS = shutil.which("prometheus")
RULES = Path(__file__).parents[2] / "monitoring" / "prometheus" / "visionq.rules.yml"

needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not installed (Debian's package `prometheus`)"
)


@contextmanager
def running_exporter(fleet: Fleet, log: Path) -> Iterator[str]:
    port = free_port()
    process = WarmProcess(["exporter", "--port", str(port)], fleet.environment(), log)
    try:
        until(lambda: answers(port, "/healthz"), 30, "the exporter")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(10) == 0, log.read_text()


@contextmanager
def running_prometheus(folder: Path, target: str) -> Iterator[Server]:
    """Start one that scrapes each second, by our own rules."""
    folder.mkdir()
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "visionq", "static_configs": [{"targets": [target]}]},
        ],
    }
    # JSON is YAML, too.
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    port = free_port()
    command = [
        str(PROMETHEUS),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        until(lambda: answers(port, "/-/ready"), 30, "Prometheus")
        yield Server(port)
    finally:
        process.terminate()
        process.wait(20)


class Server:
    """What tests ask of it."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self._root}/{path}?{urlencode(parameters)}", timeout=10) as response:  # noqa: S310  # our own, on loopback
            return json.load(response)["data"]

    def query(self, expression: str, **parameters: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.get("query", query=expression, **parameters)["result"]
        return result
