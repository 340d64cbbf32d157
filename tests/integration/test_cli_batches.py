"""`visionq batches` against a real Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.packing import PackerBench
from visionq import cli
from visionq.contract import Api
from visionq.ledger.provider_batches import BatchSupport, write_support

Output = pytest.CaptureFixture[str]

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


@pytest.fixture
def bench(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackerBench]:
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)
    bench = PackerBench(redis)
    write_support(redis, "k1", "gpt-6-luna", Api.RESPONSES, BatchSupport(works=True))
    yield bench
    bench.close()


def run(output: Output, *arguments: str) -> Any:
    output.readouterr()
    assert cli.run(["batches", *arguments, "--json"]) == 0
    return json.loads(output.readouterr().out)


def test_list_show_and_cancel(bench: PackerBench, capsys: Output) -> None:
    """A batch is listed while it is out, stopped on request, and listed as done."""
    assert cli.run(["batches", "list"]) == 0
    assert "no batch is out" in capsys.readouterr().out
    packer = bench.packer()
    bench.submit()
    assert run(capsys, "list")["waiting"][0]["jobs"] == 1
    packer.run()
    packer.run()
    (listed,) = run(capsys, "list")["batches"]
    assert (listed["state"], listed["lines"], listed["batch_id"]) == ("out", 1, "batch_1")
    assert run(capsys, "show", listed["id"]) == listed
    assert run(capsys, "cancel", listed["id"])["stopping"] is True
    packer.run()
    bench.provider.end("batch_1")
    bench.pass_time(600)
    packer.run()
    assert run(capsys, "list")["batches"][0]["state"] == "done"
    assert cli.run(["batches", "list"]) == 0
    assert "done" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["show", "cancel"])
def test_an_unknown_batch_is_named(bench: PackerBench, capsys: Output, command: str) -> None:
    """A name that nobody has is one line, with what to do."""
    assert bench.redis.ping()
    assert cli.run(["batches", command, "nothing"]) == 2
    printed = capsys.readouterr().err
    assert "nothing: no such batch is out; see `visionq batches list`" in printed
