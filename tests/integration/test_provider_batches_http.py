"""The Batch API's client and the simulator, over HTTP: what is lost is found, in little memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from visionq.contract import Api
from visionq.errors import BatchApiMissing, BillingUnknown, RequestRejected
from visionq.pricing.batch_lane import load_batch_table
from visionq.settings import Settings
from worker.provider.batch_files import BatchFile
from worker.provider.batches import BatchStatus, HttpBatchApi, ProviderBatch, make_batch_api
from worker.provider.request import ProviderRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from visionq.devstack.simulator import RunningSimulator

MODEL = "gpt-6-luna"
REQUEST = ProviderRequest(
    Api.RESPONSES, "/responses", json.dumps({"model": MODEL, "input": "Hello"}).encode(), ()
)


@pytest.fixture
def api(simulator: RunningSimulator) -> Iterator[HttpBatchApi]:
    settings = Settings(redis_url="redis://localhost", base_url=simulator.provider_url)
    with closing(make_batch_api(settings)) as made:
        yield made


def spooled(path: Path, *names: str) -> Path:
    with BatchFile(path, load_batch_table(None).for_model(MODEL)) as file:
        for name in names:
            assert file.add(name, REQUEST, tokens=10)
    return path


def until_final(api: HttpBatchApi, batch_id: str) -> ProviderBatch:
    deadline = time.monotonic() + 20
    while not (batch := api.get(batch_id)).status.is_final:
        assert time.monotonic() < deadline, batch
        time.sleep(0.01)
    return batch


def test_a_batch_from_file_to_answers(
    api: HttpBatchApi, simulator: RunningSimulator, tmp_path: Path
) -> None:
    simulator.configure(batch_duration_s=0, batch_faults_next=["download_cut"])
    file_id = api.upload(spooled(tmp_path / "in", "a", "b", "c"), "mark-1")
    batch = until_final(api, api.create(file_id, Api.RESPONSES, "mark-1").id)
    assert (batch.status, batch.total, batch.completed) == (BatchStatus.COMPLETED, 3, 3)
    assert batch.ended_at is not None
    assert api.cancel(batch.id) == batch, "what has ended can't be stopped any more"
    (output,) = batch.result_file_ids
    lines = {line.custom_id: line.answer(REQUEST, now=0) for line in api.lines(output)}
    assert set(lines) == {"a", "b", "c"}
    assert all(answer.usage and answer.usage.input_tokens for answer in lines.values())
    for name in (file_id, output):
        api.delete(name)
    assert api.files("mark-1") == ()


def test_what_was_accepted_without_an_answer_is_found(
    api: HttpBatchApi, simulator: RunningSimulator, tmp_path: Path
) -> None:
    path = spooled(tmp_path / "in", "a")
    simulator.configure(batch_faults_next=["upload_lost", "create_lost"])
    with pytest.raises(BillingUnknown):
        api.upload(path, "mark-2")
    (file_id,) = api.files("mark-2")
    with pytest.raises(BillingUnknown):
        api.create(file_id, Api.RESPONSES, "mark-2")
    found = api.find("mark-2", since=time.time() - 60)
    assert found is not None
    assert (found.input_file_id, found.mark) == (file_id, "mark-2")
    until_final(api, found.id)
    assert api.find("mark-3", since=time.time() - 60) is None


def test_a_provider_without_batches_says_so(
    api: HttpBatchApi, simulator: RunningSimulator, tmp_path: Path
) -> None:
    simulator.configure(batch_api=False)
    path = spooled(tmp_path / "in", "a")
    for call in (
        lambda: api.upload(path, "mark"),
        lambda: api.create("file-1", Api.RESPONSES, "mark"),
        lambda: api.find("mark", since=0),
    ):
        with pytest.raises(BatchApiMissing):
            call()


def test_what_is_not_there_is_rejected(api: HttpBatchApi) -> None:
    with pytest.raises(RequestRejected):
        api.get("batch_none")
    with pytest.raises(RequestRejected):
        api.create("file-none", Api.RESPONSES, "mark")
    api.delete("file-none")


def test_over_the_token_limit_is_said(
    api: HttpBatchApi, simulator: RunningSimulator, tmp_path: Path
) -> None:
    simulator.configure(batch_enqueued_tokens=5)
    file_id = api.upload(spooled(tmp_path / "in", "a", "b"), "mark")
    batch = until_final(api, api.create(file_id, Api.RESPONSES, "mark").id)
    assert batch.is_over_token_limit
    assert batch.token_limit == 5
    assert simulator.bill()["billed"] == 0


def test_a_large_file_takes_little_memory(api: HttpBatchApi, tmp_path: Path) -> None:
    """200 MB go up and come down in pieces."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 999_999 + b"\n")
    tracemalloc.start()
    try:
        file_id = api.upload(path, "mark-large")
        assert sum(1 for _ in api.lines(file_id)) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        api.delete(file_id)
    assert peak < 16_000_000
