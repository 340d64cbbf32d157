"""The simulator as a process: its name, its one line, its end."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest

from visionq.devstack.simulator.process import command_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLI = [
    sys.executable,
    "-c",
    "from visionq.devstack.simulator_command import simulator; simulator()",
]


@contextmanager
def started(command: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # our own interpreter
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0]
    return process.stdout.readline().strip()


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_one_line_and_ends_cleanly(name: signal.Signals) -> None:
    """The only output is the address, and either signal ends it with 0, a hanging call or not."""
    with started(command_line(settings={"faults_next": ["hang"]})) as process:
        address = urlsplit(first_line(process))
        connection = HTTPConnection(address.hostname or "", address.port, timeout=20)
        connection.request("POST", "/openai/v1/responses", "{}", {"Authorization": "Bearer x"})
        process.send_signal(name)
        output, log = process.communicate(timeout=10)
        connection.close()
    assert process.returncode == 0, log
    assert output == ""
    assert "Traceback" not in log


def test_command_becomes_the_simulator() -> None:
    """`visionq simulator` runs under the name of the simulator, with the limits it was given."""
    options = ["--requests-per-minute", "60", "--tokens-per-minute", "1000", "--latency", "0.1"]
    with started([*CLI, *options, "--seed", "7"]) as process:
        address = urlsplit(first_line(process))
        assert address.hostname == "127.0.0.1"
        assert "visionq-simulator" in psutil.Process(process.pid).cmdline()
        connection = HTTPConnection(address.hostname, address.port, timeout=20)
        connection.request("GET", "/simulator/settings")
        settings = json.loads(connection.getresponse().read())
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        process.terminate()
        assert process.wait(10) == 0
    assert settings["requests_per_minute"] == 60
    assert settings["tokens_per_minute"] == 1000
    assert (settings["latency_s"], settings["seed"]) == (0.1, 7)


def test_address_in_use_is_said_in_one_line() -> None:
    """A port that is taken gives one clear line and exit code 3."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with started(command_line(port=port)) as process:
            output, log = process.communicate(timeout=30)
    assert process.returncode == 3
    assert output == ""
    assert log.startswith(f"visionq-simulator: can't listen on 127.0.0.1:{port}: ")
    assert log.count("\n") == 1


@pytest.mark.parametrize("settings", ['{"latency_s": "x"}', "{"])
def test_wrong_settings_are_a_usage_error(settings: str) -> None:
    """Settings that can't be used end the process with 2 before it listens."""
    with started([*command_line()[:-1], settings]) as process:
        output, log = process.communicate(timeout=30)
    assert process.returncode == 2
    assert output == ""
    assert "--settings" in log


def test_own_prices_are_charged(tmp_path: Path) -> None:
    """The price table that the environment names is used; one that is none is a usage error."""
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nmodel = "gpt-6-luna"\ninput = "1000000"\noutput = "0"\n')
    with started(command_line(), VISIONQ_PRICES_FILE=str(prices)) as process:
        address = urlsplit(first_line(process))
        connection = HTTPConnection(address.hostname or "", address.port, timeout=20)
        body = json.dumps({"model": "gpt-6-luna", "input": "Hello"})
        connection.request("POST", "/openai/v1/responses", body, {"Authorization": "Bearer x"})
        usage = json.loads(connection.getresponse().read())["usage"]
        connection.request("GET", "/simulator/bill")
        bill = json.loads(connection.getresponse().read())
        connection.close()
    assert bill["rub"] == str(usage["input_tokens"])
    prices.write_text("nonsense")
    with started(command_line(), VISIONQ_PRICES_FILE=str(prices)) as process:
        _, log = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "--prices" in log
