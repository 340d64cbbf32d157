"""The gateway keeps to its own OpenAPI document, for any request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.gateway import KEY, running_gateway
from visionq.devstack.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.gateway import Gateway

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)


#: A wait in which nobody works on the job ends with 504, no fault of visionq.
WAITS = "chat/completions$"


@pytest.mark.timeout(400)
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Requests of every kind, right and wrong, bring no 5xx and no answer but those described."""
    short = {"VISIONQ_GATEWAY_LONGEST_WAIT": "0.05", "VISIONQ_GATEWAY_REQUESTS_PER_MINUTE": "99999"}
    with (
        running_redis(tmp_path / "redis") as server,
        running_gateway(tmp_path, server.url, **short) as gateway,
    ):
        schemathesis(gateway, CHECKS, "--exclude-path-regex", WAITS)
        but_504 = [check for check in CHECKS if check != "not_a_server_error"]
        schemathesis(gateway, but_504, "--include-path-regex", WAITS)
        assert "Exception in ASGI application" not in gateway.log()


def schemathesis(gateway: Gateway, checks: Sequence[str], *which: str) -> None:
    """Try the operations that are chosen."""
    done = subprocess.run(  # our own command
        [
            *(Path(sys.executable).with_name("schemathesis"), "run"),
            f"{gateway.url}/openapi.json",
            *("--header", f"Authorization: Bearer {KEY}", "--checks", ",".join(checks)),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "4", "--seed", "1"),
            *("--no-color", "--suppress-health-check", "all", *which),
        ],
        cwd=gateway.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr


def test_every_operation_is_described(tmp_path: Path) -> None:
    """Each operation has a summary, a description and its errors; bodies have examples."""
    with (
        running_redis(tmp_path / "redis") as server,
        running_gateway(tmp_path, server.url) as gateway,
    ):
        document = httpx2.get(f"{gateway.url}/openapi.json").json()
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) >= 20
    schemas = document["components"]["schemas"]
    for path, method, operation in operations:
        assert operation["summary"], path
        assert operation["description"], path
        assert {"4XX", "5XX"} <= operation["responses"].keys(), path
        assert operation["security"], path
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body:
            name = body["schema"].get("$ref", "").rpartition("/")[2]
            assert "example" in body or schemas[name]["examples"], (path, method)
