"""How commands find a running stack, and what a stack decides before it starts."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, ClassVar

import pytest
from pydantic import SecretStr

from visionq.cli.record import (
    StackRecord,
    read_record,
    record_path,
    remove_record,
    write_record,
)
from visionq.cli.shared import exit_code, find_redis_url
from visionq.devstack.children import answers
from visionq.devstack.planning import StackOptions, planned
from visionq.errors import QueueUnavailable
from visionq.http_checks import nonce_headers
from visionq.settings import ConfigurationError, Settings
from visionq.user_files import user_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD = StackRecord(
    pid=os.getpid(),
    redis_url="redis://127.0.0.1:7/0",
    provider_url="http://127.0.0.1:8/openai/v1",
    pids={"redis": [1]},
)
WISHES = StackOptions(
    workers=3, concurrency=5, data_dir=None, simulate=False, ports=(0, 0, 0, 0, 0)
)
KEY = "sk-key"


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path)}


def settings(**values: object) -> Settings:
    """Settings that the environment of the tests does not touch."""
    known: dict[str, object] = dict.fromkeys(("api_key", "redis_url", "broker_url"))
    return Settings.model_construct(**(known | values))  # type: ignore[arg-type]  # pydantic's own looseness


def test_found_while_it_runs(environ: Mapping[str, str]) -> None:
    """A command finds the stack that runs, and nothing once the record is gone."""
    write_record(RECORD, environ)
    assert read_record(environ) == RECORD
    assert find_redis_url(settings(), environ) == RECORD.redis_url
    remove_record(RECORD, environ)
    assert read_record(environ) is None


def test_environment_goes_first(environ: Mapping[str, str]) -> None:
    """`VISIONQ_REDIS_URL` is taken before the running stack's address."""
    write_record(RECORD, environ)
    chosen = settings(redis_url=SecretStr("redis://elsewhere"))
    assert find_redis_url(chosen, environ) == "redis://elsewhere"


def test_no_stack(environ: Mapping[str, str]) -> None:
    """Without either the error says how to start a stack, and its exit code is 3."""
    with pytest.raises(QueueUnavailable, match="visionq up") as caught:
        find_redis_url(settings(), environ)
    assert exit_code(caught.value) == 3


def test_stale_record(environ: Mapping[str, str]) -> None:
    """The record of a stack whose process is gone counts for nothing."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_record(replace(RECORD, pid=gone.pid), environ)
    assert read_record(environ) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": 1}', '{"from_the_future": 1}'])
def test_unreadable_record(environ: Mapping[str, str], text: str) -> None:
    """A record that is broken, or of another version, is as good as none."""
    path = record_path(os.getpid(), environ)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert read_record(environ) is None


def test_last_one_wins(environ: Mapping[str, str]) -> None:
    """The stack started last is found, and the end of an earlier one does not hide it."""
    write_record(RECORD, environ)
    later = replace(RECORD, pid=os.getppid(), redis_url="redis://127.0.0.1:9/0", started_at=2.0)
    write_record(later, environ)
    write_record(RECORD, environ)  # again, as a child was started again
    assert read_record(environ) == later
    remove_record(RECORD, environ)
    assert read_record(environ) == later


def test_an_earlier_stack_is_found_again(environ: Mapping[str, str]) -> None:
    """When the stack started last has ended, commands find the earlier one, which still runs."""
    write_record(RECORD, environ)
    later = replace(RECORD, pid=os.getppid(), started_at=2.0)
    write_record(later, environ)
    remove_record(later, environ)
    assert read_record(environ) == RECORD


def test_a_state_directory_that_can_not_be_written(tmp_path: Path) -> None:
    """If no record can be left, one line names the variable that moves it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"XDG_STATE_HOME: .* can't be written"):
        write_record(RECORD, {"XDG_STATE_HOME": str(tmp_path / "file")})


@pytest.mark.parametrize("path", ["file", "file/below", "/proc/visionq", "/dev/null"])
def test_a_data_directory_that_can_not_be(tmp_path: Path, path: str) -> None:
    """A place where no directory can be made is refused in one line."""
    (tmp_path / "file").write_text("")
    wishes = replace(WISHES, data_dir=tmp_path / path)
    with (
        pytest.raises(ConfigurationError, match=r"^configuration: --data-dir: .* can't be used"),
        planned(wishes, settings(), {}, tmp_path / "stack", Random(1)),
    ):
        pass


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """A port on which another program listens is refused by the name of its option."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        wishes = replace(WISHES, ports=(0, stranger.getsockname()[1], 0, 0, 0))
        with (
            pytest.raises(ConfigurationError, match="--simulator-port: another program listens"),
            planned(wishes, settings(), {}, tmp_path / "stack", Random(1)),
        ):
            pass


def test_only_the_own_part_is_ready() -> None:
    """Another program that answers 200 on a part's port does not know the nonce."""

    class Stranger(BaseHTTPRequestHandler):
        headers_sent: ClassVar[dict[str, str]] = {}

        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in self.headers_sent.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        assert answers(port, "/healthz")
        assert not answers(port, "/healthz", "nonce")
        Stranger.headers_sent = nonce_headers({"VISIONQ_STACK_NONCE": "another"})
        assert not answers(port, "/healthz", "nonce")
        Stranger.headers_sent = nonce_headers({"VISIONQ_STACK_NONCE": "nonce"})
        assert answers(port, "/healthz", "nonce")
        server.shutdown()


def test_directories() -> None:
    """The user's directories follow XDG, which asks to ignore a relative one."""
    assert user_directory("DATA", ".local/share", {"XDG_DATA_HOME": "/d"}) == Path("/d/visionq")
    home = Path.home() / ".local/share/visionq"
    assert user_directory("DATA", ".local/share", {"XDG_DATA_HOME": "d"}) == home


def test_paid_plan(tmp_path: Path) -> None:
    """With a key the data stay in the user's directory and the provider's address is kept."""
    chosen = settings(api_key=SecretStr(KEY), base_url="https://provider/openai/v1")
    environment = {"PROXYAPI_API_KEY": KEY, "VISIONQ_BROKER_URL": "redis://elsewhere"}
    with planned(WISHES, chosen, environment, tmp_path / "stack", Random(1)) as plan:
        assert plan.data_dir == tmp_path / "stack"
        assert not plan.passing
        assert (plan.simulator_url, plan.provider_url) == (None, "https://provider/openai/v1")
        nonce = {"VISIONQ_STACK_NONCE": plan.nonce}
        assert plan.child_environment("redis") == nonce
        assert plan.child_environment("gateway") == nonce | {"VISIONQ_REDIS_URL": plan.redis.url}
        assert plan.child_environment("worker") == nonce | {
            "VISIONQ_REDIS_URL": plan.redis.url,
            "PROXYAPI_BASE_URL": "https://provider/openai/v1",
        }
        with (
            pytest.raises(ConfigurationError, match="another `visionq up`"),
            planned(WISHES, chosen, environment, tmp_path / "stack", Random(2)),
        ):
            pass
    assert plan.data_dir.exists()


def test_simulated_plan(tmp_path: Path) -> None:
    """Without a key, or when asked to, the simulator answers in a place that goes at the end."""
    for chosen, wishes in (
        (settings(), WISHES),
        (settings(api_key=SecretStr(KEY)), replace(WISHES, simulate=True)),
    ):
        with planned(wishes, chosen, {}, tmp_path / "stack", Random(1)) as plan:
            assert plan.passing
            assert plan.api_key is None
            assert plan.provider_url == f"{plan.simulator_url}/openai/v1"
        assert not plan.data_dir.exists()
        assert not (tmp_path / "stack").exists()


def test_chosen_ports(tmp_path: Path) -> None:
    """A port that was asked for is taken as it is, the others are free ones."""
    wishes = replace(WISHES, ports=(0, 0, 5555, 0, 0))
    with planned(wishes, settings(), {}, tmp_path, Random(1)) as plan:
        assert plan.flower_port == 5555
        assert len({plan.redis.port, plan.simulator_port, plan.flower_port}) == 3


def test_an_open_directory_is_closed(tmp_path: Path) -> None:
    """A directory that is empty, or holds a stack's data, is closed to everybody else."""
    folder = tmp_path / "stack"
    folder.mkdir(mode=0o755)
    wishes = replace(WISHES, data_dir=folder)
    for mode in (0o755, 0o770, 0o701):
        folder.chmod(mode)
        with planned(wishes, settings(), {}, tmp_path, Random(1)):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_open_directory_of_others_is_refused(tmp_path: Path) -> None:
    """In a folder with other files nothing is changed, and none of our files is left readable."""
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    (folder / "theirs").touch()
    wishes = replace(WISHES, data_dir=folder)
    with (
        pytest.raises(ConfigurationError, match="shared is open to others"),
        planned(wishes, settings(), {}, tmp_path, Random(1)),
    ):
        pass
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert [path.name for path in folder.iterdir()] == ["theirs"]
    folder.chmod(0o700)
    with planned(wishes, settings(), {}, tmp_path, Random(1)):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """The owner of the directory can read it, in any mode."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with (
        pytest.raises(ConfigurationError, match="theirs belongs to another user"),
        planned(replace(WISHES, data_dir=folder), settings(), {}, tmp_path, Random(1)),
    ):
        pass
