"""What `visionq worker` decides before it becomes a Celery worker."""

from __future__ import annotations

import os
import subprocess
import sys
from socket import gethostname
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from visionq import names
from visionq.cli.record import StackRecord
from visionq.settings import ConfigurationError, Settings
from worker.worker_command import check_files, check_provider, joining, worker_options

if TYPE_CHECKING:
    from pathlib import Path

ELSEWHERE = "http://127.0.0.1:8/openai/v1"
STACK = StackRecord(pid=1, redis_url="redis://127.0.0.1:7/0", provider_url=ELSEWHERE)


def settings(api_key: str | None, base_url: str | None = None) -> Settings:
    """Settings that the environment of the tests does not touch."""
    default = Settings.model_fields["base_url"].default
    key = SecretStr(api_key) if api_key else None
    return Settings.model_construct(api_key=key, base_url=base_url or default)


def test_no_key() -> None:
    """Without a key a worker does not start against the provider on the internet."""
    with pytest.raises(ConfigurationError, match="PROXYAPI_API_KEY is not set"):
        check_provider(settings(None))


@pytest.mark.parametrize("chosen", [settings("sk-key"), settings(None, ELSEWHERE)])
def test_may_start(chosen: Settings) -> None:
    """With a key, or with another provider's address, a worker starts."""
    check_provider(chosen)


def test_tables_that_can_not_be_used(tmp_path: Path) -> None:
    """A worker does not start with prices of the operator's own that are no table."""
    file = tmp_path / "prices.toml"
    file.write_text("model = [")
    names = ("prices_file", "vision_file", "options_file")
    for chosen in (Settings.model_validate({name: file}) for name in names):
        with pytest.raises(ConfigurationError, match=r"prices\.toml: Invalid value"):
            check_files(chosen)
    with pytest.raises(ConfigurationError, match="VISIONQ_DEFAULT_EFFORT: 'turbo'"):
        check_files(Settings(default_effort="turbo"))


def test_joining_simulated_stack() -> None:
    """A worker that joins a simulated stack calls its simulator, and not with a real key."""
    simulated = StackRecord(**{**vars(STACK), "simulator_url": "http://127.0.0.1:8"})
    joined = joining(simulated)
    assert joined["VISIONQ_REDIS_URL"] == STACK.redis_url
    assert joined["PROXYAPI_BASE_URL"] == ELSEWHERE
    assert joined["PROXYAPI_API_KEY"]


def test_joining_paid_stack() -> None:
    """A worker that joins a paid stack brings its own key."""
    assert "PROXYAPI_API_KEY" not in joining(STACK)


def test_options() -> None:
    """Celery tells Flower what happens, and reads the queues given."""
    queues = ",".join((*names.HINT_QUEUES, names.QUEUE_INTAKE))
    options = worker_options("visionq-worker-1", 64, queues, "INFO")
    assert options["concurrency"] == 64
    assert options["hostname"] == f"visionq-worker-1@{gethostname()}"
    assert options["queues"] == "visionq.interactive,visionq.bulk,visionq.intake"
    assert options["task_events"]


def test_light() -> None:
    """A worker imports neither Flower nor Celery's own command line."""
    code = """if True:
        import sys, worker.worker_command
        from worker.celery.app import app
        app.Worker(**worker.worker_command.worker_options("light", 1, "celery", "WARNING"))
        print(*sys.modules)
    """
    environment = {**os.environ, "VISIONQ_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(  # our own lines
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert {"worker.runtime", "openai", "celery.worker.consumer"} <= loaded
    assert not {"flower", "celery.bin.celery", "prompt_toolkit", "tornado"} & loaded


@pytest.mark.parametrize(("hard", "allowed"), [(900, 700), (500, 500)])
def test_each_call_may_have_its_connection(hard: int, allowed: int) -> None:
    """A process may open as many files as it makes calls, as far as the system lets it."""
    code = (
        "import resource as r; from worker.worker_command import allow_open_files as allow;"
        f"r.setrlimit(r.RLIMIT_NOFILE, (300, {hard})); allow(700); allow(200);"
        "print(r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run(  # our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str((allowed, hard))
