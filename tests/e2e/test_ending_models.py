"""A model that the provider does not list, or that ends soon: each command says so in one line."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.e2e.test_up import Up, running_up
from tests.support.pictures import picture
from tests.support.waiting import until
from tests.support.warm_command import warm_visionq
from visionq.devstack.simulator.process import RunningSimulator
from visionq.names import MAINTENANCE
from visionq.pricing.model_list import read_model_list

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNLISTED = "the provider does not list gpt-6-lunar; the nearest model that it lists is gpt-6-luna"
#: Two weeks from today: before the end of any work that takes a month.
SOON = (datetime.now(UTC) + timedelta(days=14)).date()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    with running_up(folder, "--simulate", VISIONQ_DEFAULT_MODEL="gpt-6-lunar") as started:
        yield started


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(picture(1))
    return tmp_path / "photos"


def visionq(up: Up, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [warm_visionq(), *arguments],
        env=dict(up.environment),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_up_says_it(folder: Path, up: Up) -> None:
    """The configured model is looked for in the list when all is ready."""
    errors = folder / "up.err"
    until(lambda: UNLISTED in errors.read_text(), 20, errors.read_text)
    assert up.process.poll() is None


def test_ask_says_it_and_switches_nothing(up: Up, photos: Path) -> None:
    """The line comes before the answer, and the model that was named is the one that is asked."""
    done = visionq(up, "ask", str(photos / "a.png"), "-p", "What?")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"warning: {UNLISTED}"
    assert "model_not_found" in done.stderr
    done = visionq(up, "ask", str(photos / "a.png"), "-p", "What?", "--model", "gpt-6-luna")
    assert done.returncode == 0, done.stderr
    assert "the provider" not in done.stderr


def test_quote_and_doctor_say_it(up: Up, photos: Path) -> None:
    """Programs find the line in `warnings`, and the nearest model in the finding."""
    quoted = visionq(up, "quote", str(photos), "-p", "What?", "--json")
    assert UNLISTED in json.loads(quoted.stdout)["warnings"]
    shown = visionq(up, "quote", str(photos), "-p", "What?")
    assert f"! {UNLISTED}" in shown.stdout
    examined = visionq(up, "doctor", "--json")
    findings = {one["check"]: one for one in json.loads(examined.stdout)["findings"]}
    assert findings["provider.model"]["message"] == UNLISTED
    assert findings["provider.model"]["details"]["nearest"] == "gpt-6-luna"


def test_a_run_hears_of_the_providers_date_before_it_begins(up: Up, photos: Path) -> None:
    """The provider's list reaches all commands by way of a worker."""
    simulator = RunningSimulator(up.line["simulator_url"], 0)
    simulator.configure(shutdown_dates={"gpt-6-luna": str(SOON)})
    with Redis.from_url(up.line["redis_url"]) as redis:
        redis.delete(f"{MAINTENANCE}models-read")
        until(
            lambda: (known := read_model_list(redis)) is not None and "gpt-6-luna" in known.ends,
            30,
            "a worker to read the list",
        )
    luna = ("--model", "gpt-6-luna")
    out = str(photos.parent / "out.jsonl")
    done = visionq(up, "run", str(photos), "-p", "Which?", *luna, "-o", out, "--yes")
    assert done.returncode == 0, done.stderr
    said = f"warning: model gpt-6-luna shuts down in 14 days, on {SOON} (the provider's list"
    assert said in done.stderr
    asked = visionq(up, "ask", str(photos / "a.png"), "-p", "Other?", *luna)
    assert said in asked.stderr
