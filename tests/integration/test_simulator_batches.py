"""The simulator's files and batches are those of the SDK, with faults and a clock that turns."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest
from openai import OpenAI

from visionq.devstack.simulator.faults import BatchFault
from visionq.devstack.simulator.simulated_batches import FINAL
from visionq.pricing.prices import load_prices

if TYPE_CHECKING:
    from openai.types import Batch

    from visionq.devstack.simulator import RunningSimulator

MODEL = "gpt-6-luna"
DAY = 86_400
#: One pixel.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


def line(custom_id: str, text: str = "Hello", **changes: Any) -> bytes:
    body = {"model": MODEL, "input": f"{text} {custom_id}"}
    row = {"custom_id": custom_id, "method": "POST", "url": "/v1/responses", "body": body}
    return json.dumps(row | changes).encode() + b"\n"


def uploaded(client: OpenAI, *lines: bytes) -> str:
    return client.files.create(file=("in.jsonl", b"".join(lines)), purpose="batch").id


def begun(client: OpenAI, *lines: bytes, **options: Any) -> Batch:
    return client.batches.create(
        input_file_id=uploaded(client, *lines),
        endpoint="/v1/responses",
        completion_window="24h",
        **options,
    )


def until(client: OpenAI, batch_id: str, *statuses: str) -> Batch:
    deadline = time.monotonic() + 20
    while (batch := client.batches.retrieve(batch_id)).status not in statuses:
        assert time.monotonic() < deadline, batch.status
        time.sleep(0.01)
    return batch


def rows(client: OpenAI, file_id: str | None) -> dict[str, list[Any]]:
    """Return custom id → its rows in a file of results."""
    found: dict[str, list[Any]] = {}
    text = client.files.content(file_id).text if file_id else ""
    for row in map(json.loads, text.splitlines()):
        found.setdefault(row["custom_id"], []).append(row)
    return found


LINES = [line(f"job-{n}") for n in range(10)]
ALL = {f"job-{n}" for n in range(10)}


def test_a_batch_is_answered_at_half_price(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.configure(batch_duration_s=0)
    batch = until(client, begun(client, *LINES, metadata={"mark": "m"}).id, "completed")
    assert batch.metadata == {"mark": "m"}
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed) == (10, 10)
    answers = rows(client, batch.output_file_id)
    assert set(answers) == ALL
    assert list(answers) != sorted(ALL), "in no order"
    price = load_prices().for_model(MODEL)
    assert price is not None
    charged = simulator.batch_lines()
    for custom_id, (row,) in answers.items():
        usage = row["response"]["body"]["usage"]
        online = price.input * usage["input_tokens"] + price.output * usage["output_tokens"]
        assert charged[custom_id] == [format((online / 2_000_000).normalize(), "f")]
    bill = simulator.bill()
    assert bill["billed"] == 10
    assert Decimal(bill["rub"]) == sum(Decimal(rub) for (rub,) in charged.values())


def test_the_clock_decides_what_is_answered(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.configure(batch_duration_s=23 * 3600)
    batch = until(client, begun(client, *LINES).id, "in_progress")
    assert simulator.bill()["billed"] == 0
    simulator.configure(batch_clock_ahead_s=12 * 3600)
    deadline = time.monotonic() + 20
    while simulator.bill()["billed"] < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert client.batches.retrieve(batch.id).status == "in_progress"
    assert simulator.bill()["billed"] == 5
    simulator.configure(batch_clock_ahead_s=23 * 3600 + 60)
    until(client, batch.id, "completed")


def test_what_the_window_leaves_has_expired(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.configure(batch_faults_next=["partial_expiry"], batch_fault_share=0.4)
    batch = begun(client, *LINES)
    simulator.configure(batch_clock_ahead_s=DAY + 1)
    batch = until(client, batch.id, "expired")
    answered, expired = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
    assert (len(answered), len(expired)) == (6, 4)
    assert {row["error"]["code"] for (row,) in expired.values()} == {"batch_expired"}
    assert simulator.bill()["billed"] == 6


def test_a_cancelled_batch_keeps_what_was_answered(
    simulator: RunningSimulator, client: OpenAI
) -> None:
    simulator.configure(batch_duration_s=1000)
    batch = begun(client, *LINES)
    until(client, batch.id, "in_progress")
    simulator.configure(batch_clock_ahead_s=500)
    deadline = time.monotonic() + 20
    while simulator.bill()["billed"] < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    client.batches.cancel(batch.id)
    batch = until(client, batch.id, "cancelled")
    assert len(rows(client, batch.output_file_id)) == 5
    left = rows(client, batch.error_file_id)
    assert {row["error"]["code"] for (row,) in left.values()} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"not json\n"], "invalid_json_line"),
        ([line("a"), line("a")], "duplicate_custom_id"),
        ([line("a", url="/v1/chat/completions")], "mismatched_endpoint"),
        ([line("a", method="GET")], "mismatched_endpoint"),
        ([line("a"), line("b", body={"model": "gpt-5.4", "input": "?"})], "mismatched_model"),
        ([line("")], "missing_required_parameter"),
        ([b"\n"], "empty_file"),
    ],
)
def test_a_file_that_is_wrong_fails_and_costs_nothing(
    simulator: RunningSimulator, client: OpenAI, lines: list[bytes], code: str
) -> None:
    batch = until(client, begun(client, *lines).id, *FINAL)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert batch.errors.data[0].code == code
    assert simulator.bill()["billed"] == 0


def test_no_more_tokens_are_enqueued_than_the_limit(
    simulator: RunningSimulator, client: OpenAI
) -> None:
    simulator.configure(batch_enqueued_tokens=150, batch_duration_s=1000)
    first = until(client, begun(client, *LINES).id, "in_progress", "failed")
    assert first.status == "in_progress"
    second = until(client, begun(client, *LINES).id, *FINAL)
    assert second.errors is not None
    assert second.errors.data is not None
    assert second.errors.data[0].code == "token_limit_exceeded"
    client.batches.cancel(first.id)
    until(client, first.id, "cancelled")
    third = until(client, begun(client, *LINES).id, "in_progress", "failed")
    assert third.status == "in_progress"
    client.batches.cancel(third.id)


@pytest.mark.parametrize(
    ("fault", "answered", "errors", "billed"),
    [
        ("lines_missing", 0, 0, 10),
        ("lines_doubled", 10, 0, 10),
        ("lines_failed", 0, 10, 0),
        ("lines_timed_out", 0, 10, 10),
        ("validation_failure", 0, 0, 0),
        ("cancelled_finalizing", 10, 0, 10),
    ],
)
def test_faults_of_batches(  # noqa: PLR0917  # pytest passes them by name
    simulator: RunningSimulator,
    client: OpenAI,
    fault: str,
    answered: int,
    errors: int,
    billed: int,
) -> None:
    simulator.configure(batch_duration_s=0, batch_faults_next=[fault], batch_fault_share=1)
    batch = until(client, begun(client, *LINES).id, *FINAL)
    results = rows(client, batch.output_file_id)
    assert (len(results), len(rows(client, batch.error_file_id))) == (answered, errors)
    assert simulator.bill()["billed"] == billed
    copies = {len(each) for each in results.values()}
    assert copies <= {2 if fault == "lines_doubled" else 1}
    expected = {"validation_failure": "failed", "cancelled_finalizing": "cancelled"}
    assert batch.status == expected.get(fault, "completed")


def test_accepted_and_the_answer_lost(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.configure(batch_faults_next=["upload_lost", "create_lost"], batch_list_lag_s=1000)
    before = {file.id for file in client.files.list()}
    with pytest.raises(openai.APIConnectionError):
        uploaded(client, *LINES)
    (file_id,) = {file.id for file in client.files.list()} - before
    mark = {"mark": "lost"}
    with pytest.raises(openai.APIConnectionError):
        client.batches.create(
            input_file_id=file_id,
            endpoint="/v1/responses",
            completion_window="24h",
            metadata=mark,
        )
    assert not [batch for batch in client.batches.list(limit=1) if batch.metadata == mark]
    simulator.configure(batch_list_lag_s=0)
    (batch,) = [each for each in client.batches.list(limit=1) if each.metadata == mark]
    assert batch.input_file_id == file_id
    until(client, batch.id, "completed")


def test_a_download_is_cut_and_taken_up(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.configure(batch_faults_next=["download_cut"])
    content = b"".join(LINES)
    file_id = uploaded(client, content)
    with pytest.raises((openai.APIConnectionError, httpx2.HTTPError)):
        client.files.content(file_id).read()
    rest = client.files.content(file_id, extra_headers={"Range": "bytes=100-"})
    assert rest.read() == content[100:]
    assert rest.response.status_code == 206


def test_lists_come_in_pages(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.configure(batch_duration_s=0)
    made = [begun(client, LINES[0]).id for _ in range(5)]
    for batch_id in made:  # else they would be billed to the next test
        until(client, batch_id, "completed")
    first = client.batches.list(limit=2)
    assert [batch.id for batch in first.data] == made[:-3:-1]
    assert first.has_more
    assert [batch.id for batch in client.batches.list(limit=100)][:5] == made[::-1]
    file_id = uploaded(client, LINES[0])
    newest = client.files.list(purpose="batch", limit=1)
    assert [file.id for file in newest.data] == [file_id]
    assert client.files.delete(file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file_id)


def test_pictures_can_be_refused_line_by_line(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.configure(batch_duration_s=0, batch_pictures=False)
    part = {"type": "input_image", "image_url": PICTURE}
    body = {"model": MODEL, "input": [{"role": "user", "content": [part]}]}
    batch = until(client, begun(client, line("seen", body=body), line("read")).id, "completed")
    assert set(rows(client, batch.output_file_id)) == {"read"}
    ((refused,),) = rows(client, batch.error_file_id).values()
    assert refused["response"]["status_code"] == 400
    assert simulator.bill()["billed"] == 1


def test_there_may_be_no_batch_api(simulator: RunningSimulator, client: OpenAI) -> None:
    simulator.configure(batch_api=False)
    for call in (lambda: uploaded(client, *LINES), client.batches.list):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.body == {"detail": "Not Found"}


def test_a_name_of_each_fault_is_a_setting(simulator: RunningSimulator) -> None:
    odds = dict.fromkeys((fault.value for fault in BatchFault), 0.05)
    assert simulator.configure(batch_faults=odds)["batch_faults"] == odds
