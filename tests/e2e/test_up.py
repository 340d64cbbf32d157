"""`visionq up` as a script sees it: one line, living parts, a clean end."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis

from tests.support.waiting import until
from tests.support.warm_command import warm_visionq
from visionq import names
from visionq.cli.record import read_record, record_path
from visionq.devstack.children import answers
from visionq.devstack.redis_server import is_ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY = "sk-real-and-expensive"
#: Secrets of the operator's environment, and whom each is for.
SECRETS = {
    "VISIONQ_HOST_HEADERS": ('{"cdn.example.org": {"X-Token": "canary-host"}}', "worker"),
    "VISIONQ_ALERT_URL": ("http://127.0.0.1:9/canary-alert", "worker"),
    "VISIONQ_ALERT_SECRET": ("Y2FuYXJ5LWFsZXJ0LXNlY3JldC1vZi1vdXJz", "worker"),
    "VISIONQ_GATEWAY_KEY": ("canary-key-of-the-gateway", "gateway"),
    "VISIONQ_FLOWER_PASSWORD": ("canary-flower", "flower"),
    "VISIONQ_FLOWER_GUEST_PASSWORD": ("canary-guest", "flower"),
    "AWS_SECRET_ACCESS_KEY": ("canary-cloud", ""),
    "SOMEBODYS_TOKEN": ("canary-token", ""),
}
VISIONQ = (str(Path(sys.executable).with_name("visionq")),)
SMALL = ("--workers", "1", "--concurrency", "2")


@dataclass(frozen=True)
class Up:
    process: subprocess.Popen[str]
    line: dict[str, Any]
    environment: Mapping[str, str]

    def pid(self, role: str) -> int:
        """Process id now, as other commands would find it."""
        record = read_record(self.environment)
        assert record is not None
        assert record.pids is not None
        return (record.pids.get(role) or [0])[0]

    def port(self, part: str) -> int:
        return int(self.line[part].rpartition(":")[2].partition("/")[0])

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> int:
        """Send the signal and return the exit code; after 10 seconds nothing may be left."""
        family = self.family()
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        until(lambda: not any(map(is_alive, family)), began + 10 - time.monotonic())
        return code


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def environment_in(folder: Path, **extra: str) -> dict[str, str]:
    """An operator's environment that shares no state with any other."""
    ours = ("VISIONQ_", "PROXYAPI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"XDG_STATE_HOME": str(folder), "XDG_DATA_HOME": str(folder)} | extra


@contextmanager
def running_up(folder: Path, *options: str, **extra: str) -> Iterator[Up]:
    environment = environment_in(folder, **extra)
    with (folder / "up.err").open("w") as errors:
        process = subprocess.Popen(  # our own command
            [*VISIONQ, "up", "--json", *SMALL, *options],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    with process:
        first = process.stdout.readline()
        assert first, (folder / "up.err").read_text()
        try:
            yield Up(process, json.loads(first), environment)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A simulated stack of an operator who has a key, and who has a package called `worker`."""
    folder = tmp_path_factory.mktemp("up")
    for name in ("worker", "monitoring"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise AssertionError('not this one')\n")
    options = ("--simulate", "--data-dir", str(folder / "data"))
    secrets = {name: secret for name, (secret, _) in SECRETS.items()}
    with running_up(folder, *options, PROXYAPI_API_KEY=KEY, **secrets) as started:
        yield started
        assert started.end(signal.SIGTERM) == 0
        assert started.process.stdout is not None
        assert started.process.stdout.read() == ""
        assert read_record(started.environment) is None
        assert not record_path(started.process.pid, started.environment).exists()
        assert (folder / "data" / "worker-1.log").exists()


def test_line(up: Up) -> None:
    """The line has every promised key, and what it names answers already."""
    parts = {"redis_url", "provider_url", "simulator_url", "gateway_url", "gateway_key", "pids"}
    parts |= {"metrics_url"}
    assert set(up.line) == parts | {"flower_url", "flower_user", "flower_password"}
    assert up.line["provider_url"] == up.line["simulator_url"] + "/openai/v1"
    assert "@" not in up.line["flower_url"]
    assert answers(up.port("flower_url"), "/healthcheck")
    assert answers(up.port("simulator_url"), "/healthz")
    assert answers(up.port("gateway_url"), "/healthz")
    assert up.line["metrics_url"].endswith("/metrics")
    assert answers(up.port("metrics_url"), "/metrics")
    with redis.Redis.from_url(up.line["redis_url"]) as client:
        assert client.zcard(names.WORKERS) == 1


def test_recognisable(up: Up) -> None:
    """Each part can be told in the process list, which shows no password."""
    assert set(up.line["pids"]) == {
        *("redis", "simulator", "worker", "flower", "gateway", "exporter")
    }
    for role, pids in up.line["pids"].items():
        for pid in pids:
            shown = " ".join(psutil.Process(pid).cmdline())
            assert f"visionq-{role}" in shown
            assert up.line["flower_password"] not in shown
            assert up.line["gateway_key"] not in shown
            assert up.line["redis_url"] not in shown


def test_key_stays_here(up: Up) -> None:
    """With the simulator, no process of the stack holds the real key."""
    for member in up.family():
        assert KEY not in member.environ().values()


def test_secrets_reach_who_needs_them(up: Up) -> None:
    """Each process holds the secrets that it uses, and none that another one uses."""
    for name, (secret, owner) in SECRETS.items():
        holders = {
            role
            for role in up.line["pids"]
            if secret in psutil.Process(up.pid(role)).environ().values()
        }
        assert holders == ({owner} if owner else set()), name
    for role in ("redis", "simulator"):
        assert up.line["redis_url"] not in psutil.Process(up.pid(role)).environ().values()


def test_nobody_else_reads_the_data(up: Up) -> None:
    """The directory of the stack is the user's alone, and so is each file that is in it."""
    folder = Path(psutil.Process(up.pid("redis")).cwd())
    found = [folder, *folder.rglob("*")]
    assert len(found) > 5
    assert [path for path in found if path.stat().st_mode & 0o077] == []


def test_record(up: Up) -> None:
    """Other commands find the stack by a file that only the user can read."""
    record = read_record(up.environment)
    assert record is not None
    assert record.to_public() == up.line
    assert stat.S_IMODE(record_path(up.process.pid, up.environment).stat().st_mode) == 0o600


def test_data_dir_is_not_shared(up: Up) -> None:
    """A second stack on the same data is refused with one line."""
    data = next(Path(member.cwd()) for member in up.family() if member.pid == up.pid("redis"))
    done = subprocess.run(  # our own command
        [warm_visionq(), "up", "--json", "--data-dir", str(data)],
        env=up.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: configuration: another `visionq up` uses ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("role", ["worker", "flower", "gateway", "exporter", "simulator", "redis"])
def test_killed_part_comes_back(up: Up, role: str) -> None:
    """A part that is killed comes back on its port, Redis with its data, and can be found."""
    with redis.Redis.from_url(up.line["redis_url"]) as client:
        client.set("kept-through", role)
        before = up.pid(role)
        os.kill(before, signal.SIGKILL)
        until(lambda: up.pid(role) not in {0, before}, 20)
        until(lambda: is_ready(up.line["redis_url"]), 20)
        assert client.get("kept-through") == role.encode()
        until(lambda: answers(up.port("flower_url"), "/healthcheck"), 20)
        until(lambda: answers(up.port("simulator_url"), "/healthz"), 20)
        until(lambda: answers(up.port("gateway_url"), "/healthz"), 20)
        until(lambda: answers(up.port("metrics_url"), "/healthz"), 20)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_killed_up(tmp_path: Path) -> None:
    """Of a killed `up` no part lingers and its data stay; the next ends by Ctrl-C with 0."""
    data = str(tmp_path / "data")
    with running_up(tmp_path, "--data-dir", data) as started:
        with redis.Redis.from_url(started.line["redis_url"]) as client:
            client.set("kept", "yes")
        assert started.end(signal.SIGKILL) == -signal.SIGKILL
        assert read_record(started.environment) is None
    with running_up(tmp_path, "--data-dir", data) as again:
        with redis.Redis.from_url(again.line["redis_url"]) as client:
            assert client.get("kept") == b"yes"
        assert again.end(signal.SIGINT) == 0


def test_kinds_do_not_mix(tmp_path: Path) -> None:
    """A directory of simulated answers is refused to a stack that would pay, and the reverse."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "answers").write_text("simulated\n")
    done = subprocess.run(  # our own command
        [warm_visionq(), "up", "--data-dir", str(tmp_path / "data")],
        env=environment_in(tmp_path, PROXYAPI_API_KEY=KEY),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "holds simulated answers" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("VISIONQ_PRICES_FILE", "none.toml", "none.toml: can't be read"),
        ("VISIONQ_VISION_FILE", "none.toml", "none.toml: can't be read"),
        ("VISIONQ_OPTIONS_FILE", "none.toml", "none.toml: can't be read"),
        ("VISIONQ_DETECTORS", "foo", "VISIONQ_DETECTORS: no detector foo; there is: ocr"),
    ],
)
def test_what_workers_could_not_use(tmp_path: Path, name: str, value: str, says: str) -> None:
    """It is named in one line before anything is started."""
    done = subprocess.run(  # our own command
        [warm_visionq(), "up"],
        env=environment_in(tmp_path, **{name: value}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert says in done.stderr


def test_worker_needs_key(tmp_path: Path) -> None:
    """A worker without a key and without another provider refuses to start, in one line."""
    done = subprocess.run(  # our own command
        [warm_visionq(), "worker"],
        env=environment_in(tmp_path, VISIONQ_REDIS_URL="redis://127.0.0.1:1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: configuration: PROXYAPI_API_KEY is not set")
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_goes_leaves_nothing_behind(tmp_path: Path) -> None:
    """`visionq up 2>&1 | head` ends when its reader goes, and removes its temporary directory."""
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(  # our own command
        [*VISIONQ, "up", *SMALL],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("Ready."):
        pass
    process.stdout.close()
    psutil.Process(process.pid).children()[-1].kill()  # which is reported
    assert process.wait(60) == 1
    assert [path.name for path in tmp_path.glob("visionq-*") if path.is_dir()] == []
