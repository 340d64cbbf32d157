"""`visionq batches` against a real Redis."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from producer.gateway.job_service import read_jobs
from tests.support.packing import PackerBench
from visionq import Client, cli
from visionq.contract import Api
from visionq.ledger.overview import overview
from visionq.ledger.provider_batches import BatchSupport, open_batches, write_support
from visionq.pricing.money import rubles
from visionq.redis_connection import connect_async

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
    (done,) = run(capsys, "list")["batches"]
    assert (done["state"], done["settled_rub"]) == ("done", str(rubles(bench.half_price(1))))
    assert cli.run(["batches", "list"]) == 0
    assert "done" in capsys.readouterr().out


def test_what_people_see_of_a_batch(bench: PackerBench, capsys: Output) -> None:
    """Progress, price and age are on two short lines; `cancel` tells what happens."""
    packer = bench.packer()
    bench.clock.now = time.time() - 7_500
    for _ in range(3):
        bench.submit()
    packer.run()
    packer.run()
    (batch,) = open_batches(bench.redis)
    bench.provider.answer("batch_1", 2)
    shown = bench.provider.batches["batch_1"].shown
    bench.provider.batches["batch_1"].shown = replace(shown, completed=1, failed=1)
    bench.clock.now += 600
    packer.run()
    first, second = lines(capsys, "batches", "list")
    assert first == f"{batch.id}  out (in_progress)  gpt-6-luna  2 h 5 min"
    assert re.fullmatch(r"    2 of 3 lines done, 1 failed; 0\.00 ₽ of at most 0\.\d+ ₽", second)
    told = "\n".join(lines(capsys, "batches", "show", batch.id))
    for words in ("progress 2 of 3 lines done, 1 failed", "ends by", "age 2 h 5 min"):
        assert words in re.sub(" +", " ", told), told
    assert all(len(line) < 80 for line in told.splitlines())
    (said,) = lines(capsys, "batches", "cancel", batch.id)
    assert "answered by then (at the last look 1) is kept and paid" in said


async def as_the_gateway_reads(url: str, job: str) -> list[Any]:
    redis = connect_async(url, "tests")
    services: Any = SimpleNamespace(redis=redis)
    records = await read_jobs(services, [job])
    await redis.aclose()
    return list(records)


def test_a_job_shows_its_batch(bench: PackerBench, redis_url: str, capsys: Output) -> None:
    """A job that waits for a batch, or in one, says so, with how far that is."""
    packer = bench.packer()
    bench.clock.now = time.time() - 60
    job = bench.submit()
    view = bench.view(job)
    assert (view.state, view.reason, view.priority) == ("queued", "batch", "bulk")
    packer.run()
    packer.run()
    (batch,) = open_batches(bench.redis)
    view = bench.view(job)
    assert (view.state, view.reason) == ("waiting", "batch")
    assert view.provider_batch is not None
    assert (view.provider_batch.id, view.provider_batch.lines) == (batch.id, 1)
    told = "\n".join(lines(capsys, "jobs", "show", job))
    assert re.search(rf"waits in\s+{batch.id}: 0 of 1 line done, out for", told), told
    with Client() as client:
        assert client.get(job).provider_batch == view.provider_batch
        (record,) = asyncio.run(as_the_gateway_reads(redis_url, job))
        assert record.view.provider_batch == view.provider_batch
    page = overview(bench.redis)
    assert (page.waiting.reasons, [one.id for one in page.batches]) == ({"batch": 1}, [batch.id])


def test_a_model_without_batches_is_told(bench: PackerBench, capsys: Output) -> None:
    """Say why jobs go online, and when a batch is tried again."""
    refused = BatchSupport(works=False, reason="no pictures in lines", since=time.time())
    write_support(bench.redis, "k1", "gpt-6-luna", Api.RESPONSES, refused)
    (told,) = run(capsys, "list")["refused"]
    assert (told["model"], told["reason"]) == ("gpt-6-luna", "no pictures in lines")
    (line,) = lines(capsys, "batches", "list")
    said = "the provider takes no batches of gpt-6-luna (responses): no pictures in lines."
    assert line.startswith(f"{said} Its jobs go online; one line is tried again ")


def lines(output: Output, *arguments: str) -> list[str]:
    output.readouterr()
    assert cli.run(list(arguments)) == 0
    return output.readouterr().out.splitlines()


@pytest.mark.parametrize("command", ["show", "cancel"])
def test_an_unknown_batch_is_named(bench: PackerBench, capsys: Output, command: str) -> None:
    """A name that nobody has is one line, with what to do."""
    assert bench.redis.ping()
    assert cli.run(["batches", command, "nothing"]) == 2
    printed = capsys.readouterr().err
    assert "nothing: no such batch is out; see `visionq batches list`" in printed
