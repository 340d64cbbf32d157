"""`visionq health` beside a real worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from tests.support.fleet import Fleet, running_fleet
from tests.support.waiting import until
from tests.support.warm_command import warm_visionq
from tests.support.warm_processes import WarmProcess
from visionq.devstack.redis_server import running_redis

if TYPE_CHECKING:
    from pathlib import Path


def check(fleet: Fleet, *options: str) -> tuple[int, Any]:
    result = fleet.visionq("health", "--json", *options)
    return result.returncode, json.loads(result.stdout)


def test_a_worker_that_is_stopped_is_told(tmp_path: Path) -> None:
    """A worker under SIGSTOP is unhealthy until it goes on; one that ended is not there."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    extra = {"XDG_RUNTIME_DIR": str(runtime)}
    with running_fleet(tmp_path, workers=1, concurrency=2, extra=extra) as fleet:
        (worker,) = fleet.workers
        code, said = check(fleet)
        assert (code, said["healthy"], len(said["workers"])) == (0, True, 1)
        assert said["workers"][0]["pid"] == worker.pid
        worker.send_signal(signal.SIGSTOP)
        until(lambda: check(fleet, "--patience", "3")[0] == 1, 15, "the stop to be noticed")
        assert "is stuck" in check(fleet, "--patience", "3")[1]["workers"][0]["trouble"]
        worker.send_signal(signal.SIGCONT)
        until(lambda: check(fleet, "--patience", "3")[0] == 0, 10, "health")
        worker.kill()
        worker.wait()
        assert check(fleet) == (1, {"healthy": False, "workers": []})


def test_redis_away_is_healthy(tmp_path: Path) -> None:
    """A worker without its Redis waits, healthy; also one that started without."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    with running_redis(tmp_path / "redis") as server:
        url = server.url
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(runtime),
        "VISIONQ_REDIS_URL": url,
        "PROXYAPI_BASE_URL": "http://127.0.0.1:9/openai/v1",
    }

    def well() -> bool:
        command = [warm_visionq(), "health", "--patience", "5"]
        return subprocess.run(command, env=environment, check=False).returncode == 0

    worker = WarmProcess(["worker"], environment, tmp_path / "log")
    try:
        until(well, 30, lambda: (tmp_path / "log").read_text()[-2000:])
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()
