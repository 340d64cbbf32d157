"""`visionq limits` against a real Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from visionq import cli

Output = pytest.CaptureFixture[str]

if TYPE_CHECKING:
    from redis import Redis


@pytest.fixture(autouse=True)
def ledger(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    redis.flushall()
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)


def run(*arguments: str) -> int:
    return cli.run(["limits", *arguments])


def shown(output: Output) -> Any:
    output.readouterr()
    assert run("show", "--json") == 0
    return json.loads(output.readouterr().out)


def test_set_show_and_clear(capsys: Output) -> None:
    """A limit that is set is shown and holds until it is cleared."""
    assert run("set", "m1", "--requests", "500", "--concurrency", "3") == 0
    printed = capsys.readouterr().out
    assert "m1: 500 requests a minute, 3 calls at a time (set by the operator)" in printed
    page = shown(capsys)
    assert page["operator"] == {"m1": {"requests_per_minute": 500.0, "concurrency": 3}}
    assert [(one["model"], one["requests_per_minute"]) for one in page["now"]] == [("m1", 485.0)]
    assert run("clear", "m1") == 0
    assert shown(capsys) == {"operator": {}, "environment": {}, "now": []}
    assert run("show") == 0
    assert "no limits are set" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [("m1",), ("m1", "--requests", "0"), ("a b", "--requests", "1")]
)
def test_what_is_wrong(arguments: tuple[str, ...], capsys: Output) -> None:
    """Limits without a number, of nothing or of no model are refused, and nothing is set."""
    assert run("set", *arguments) == 2
    assert shown(capsys)["operator"] == {}
