"""OpenAI's official Node package, unmodified, with the gateway as its base URL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.gateway_kit import KEY, data_url, gateway_and_fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.gateway_kit import Gateway

SCRIPT = Path(__file__).with_name("gateway_client.mjs")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_and_fleet(tmp_path_factory.mktemp("node")) as (gateway, _):
        yield gateway


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds the package `openai`."""
    folder = tmp_path_factory.mktemp("package")
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
    shutil.copy(SCRIPT, folder)
    return folder


def test_node(gateway: Gateway, package: Path) -> None:
    """Responses, completions, batches, cancelling and errors work as the package has them."""
    environment = {
        **os.environ,
        "BASE_URL": f"{gateway.url}/v1",
        "API_KEY": KEY,
        "PICTURE": data_url(77),
    }
    done = subprocess.run(
        ["node", SCRIPT.name],  # noqa: S607  # found on PATH above
        cwd=package,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["background"] == ["queued", "completed"]
    assert "64x48" in told["text"]
    assert "64x48" in told["chat"]
    assert told["cancelled"] in {"cancelled", "completed"}
    assert told["batch"] == {"total": 2, "completed": 1, "failed": 1}
    assert told["errors"] == {
        "wrong field": ["BadRequestError", "invalid_job"],
        "wrong key": ["AuthenticationError", "invalid_api_key"],
        "unknown": ["NotFoundError", "job_not_found"],
    }
