"""Batches of OpenAI's form, by its official Python client."""

from __future__ import annotations

import base64
import io
import json
import threading
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import TYPE_CHECKING, Any

import openai
import psutil
import pytest
from PIL import Image

from tests.support.gateway import Gateway, asked, said
from tests.support.pictures import picture
from tests.support.waiting import until
from tests.support.webhook_receiver import receiving
from visionq.webhooks import remove_webhook, set_webhook

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from openai import OpenAI
    from openai.types import Batch

    from tests.support.fleet import Fleet

MODEL = "gpt-6-luna"
#: What is needed within the hour is asked at once; OpenAI's own type knows `24h` alone.
SOON: Any = "1h"


def line(custom_id: str, body: Any, url: str = "/v1/responses", **more: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body, **more}


def good(number: int) -> dict[str, Any]:
    return line(f"row-{number}", {"model": MODEL, "input": asked(number)})


def broken() -> list[Any]:
    """Ten lines that can't be answered, each for a reason of its own."""
    no_picture = asked(0)
    no_picture[0]["content"][1]["image_url"] = "data:image/png;base64,aGVsbG8="
    return [
        "this is no JSON",
        "[]",
        line("bad-1", {"model": MODEL, "input": "no picture"}),
        line("bad-2", {"model": MODEL, "input": asked(0), "tools": [{"type": "web_search"}]}),
        line("bad-3", {"model": MODEL, "input": asked(0)}, url="/v1/embeddings"),
        line("bad-4", {"model": MODEL, "input": asked(0)}, method="GET"),
        line("bad-5", {"model": MODEL, "input": asked(0)}, surprise=1),
        line("bad-6", {"model": MODEL, "input": no_picture}),
        line("row-1", {"model": MODEL, "input": asked(0)}),
        {"custom_id": "bad-7"},
    ]


def as_file(lines: Iterable[Any]) -> tuple[str, io.BytesIO]:
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    return ("input.jsonl", io.BytesIO(text.encode()))


def submit(
    client: OpenAI,
    lines: Iterable[Any],
    endpoint: Any = "/v1/responses",
    window: Any = SOON,
    **extras: Any,
) -> Batch:
    file = client.files.create(file=as_file(lines), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,
        completion_window=window,
        metadata={"a": "b"},
        extra_body={"visionq": extras} if extras else None,
    )


def finished(client: OpenAI, batch: Batch, status: str = "completed") -> Batch:
    until(lambda: client.batches.retrieve(batch.id).status == status, 180, f"batch {status}")
    return client.batches.retrieve(batch.id)


def rows(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id
    return [json.loads(text) for text in client.files.content(file_id).text.splitlines()]


def test_bad_lines_hurt_nobody(client: OpenAI) -> None:
    """Of 200 lines 190 are answered, and 10 bad ones are in the error file, with our codes."""
    lines = [good(number) for number in range(1, 191)]
    for position, one in enumerate(broken()):
        lines.insert(19 * (position + 1), one)
    batch = submit(client, lines)
    assert batch.status == "validating"
    done = finished(client, batch)
    assert done.request_counts
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (200, 190, 10)
    assert done.metadata == {"a": "b"}
    answers, errors = rows(client, done.output_file_id), rows(client, done.error_file_id)
    assert {row["custom_id"] for row in answers} == {f"row-{n}" for n in range(1, 191)}
    assert all(row["response"]["status_code"] == 200 and row["error"] is None for row in answers)
    assert "64x48" in answers[0]["response"]["body"]["output"][0]["content"][0]["text"]
    assert len(errors) == 10
    assert {row["response"]["status_code"] for row in errors} == {400}
    codes = {row["custom_id"]: row["response"]["body"]["error"]["code"] for row in errors}
    assert codes.pop("bad-6") == "not_an_image"
    assert set(codes.values()) == {"invalid_job"}
    assert {row["error"]["code"] for row in errors} == {"invalid_job", "not_an_image"}


def test_a_model_that_ends_is_told_at_once(client: OpenAI) -> None:
    """The answer to the creation names each model that ends soon or has, and no other answer."""
    lines = [good(5), line("old", {"model": "gpt-4", "input": asked(6, 'the "model": "gpt-3.5"')})]
    batch = submit(client, lines)
    warnings: Any = batch.to_dict()["warnings"]  # our own field
    assert all("gpt-4" in one and MODEL not in one.split(";")[0] for one in warnings)
    assert any("gpt-4 was announced to shut down on 2026-10-23" in one for one in warnings)
    assert "warnings" not in client.batches.retrieve(batch.id).to_dict()
    assert "warnings" not in submit(client, [good(7)]).to_dict()


def test_chat_lines(client: OpenAI) -> None:
    """A batch of completions has completions in its output."""
    chat = "/v1/chat/completions"
    lines = [line("one", {"model": MODEL, "messages": said(7)}, url=chat)]
    done = finished(client, submit(client, lines, chat))
    (row,) = rows(client, done.output_file_id)
    assert "64x48" in row["response"]["body"]["choices"][0]["message"]["content"]
    assert done.error_file_id is None


def test_cancel(client: OpenAI, fleet: Fleet) -> None:
    """A cancelled batch keeps what was answered, and tells the others as cancelled."""
    fleet.simulator.configure(latency_s=2)
    batch = submit(client, [good(number) for number in range(300, 400)])
    until(lambda: client.batches.retrieve(batch.id).status == "in_progress", 20, "progress")
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    done = finished(client, batch, "cancelled")
    errors = rows(client, done.error_file_id)
    answered = rows(client, done.output_file_id) if done.output_file_id else []
    assert len(errors) + len(answered) == 100
    assert {row["error"]["code"] for row in errors} == {"cancelled"}
    assert done.request_counts
    assert done.request_counts.completed + done.request_counts.failed == 100


def test_survives_the_death_of_the_gateway(client: OpenAI, gateway: Gateway, fleet: Fleet) -> None:
    """A gateway that is killed goes on with its batches when it is back; nothing is paid twice."""
    fleet.simulator.reset_bill()
    batch = submit(client, [good(number) for number in range(1000, 2000)])
    until(lambda: fleet.redis.exists(f"visionq:job:{batch.id}-000001") == 1, 20, "entered")
    gateway.kill()
    gateway.start()
    done = finished(client, batch)
    assert done.request_counts
    assert (done.request_counts.completed, done.request_counts.failed) == (1000, 0)
    answers = rows(client, done.output_file_id)
    assert len({row["custom_id"] for row in answers}) == len(answers) == 1000
    bill = fleet.simulator.bill()
    assert bill["billed"] == len(bill["digests"])


def test_same_key_is_the_same_batch(client: OpenAI) -> None:
    """A repeated call under an idempotency key makes no second batch."""
    file = client.files.create(file=as_file([good(1)]), purpose="batch")
    again: Any = {
        "input_file_id": file.id,
        "endpoint": "/v1/responses",
        "completion_window": SOON,
        "extra_headers": {"Idempotency-Key": "nightly"},
    }
    first, second = (client.batches.create(**again) for _ in range(2))
    assert first.id == second.id


def test_files(client: OpenAI, gateway: Gateway) -> None:
    """Files are kept, listed, downloaded and deleted, each for its tenant alone."""
    name, content = as_file([good(1)])
    file = client.files.create(file=(name, content), purpose="batch")
    assert (file.filename, file.bytes, file.purpose) == (name, len(content.getvalue()), "batch")
    assert client.files.content(file.id).read() == content.getvalue()
    assert file.id in [one.id for one in client.files.list(purpose="batch", limit=1)]
    with gateway.openai(gateway.new_key("..")) as others:
        assert others.files.list().data == []
        for act in (others.files.retrieve, others.files.content, others.files.delete):
            with pytest.raises(openai.NotFoundError):
                act(file.id)
        with pytest.raises(openai.NotFoundError):
            others.batches.create(
                input_file_id=file.id, endpoint="/v1/responses", completion_window=SOON
            )
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_file_in_use_stays(client: OpenAI, fleet: Fleet) -> None:
    """The file of a batch under way can't be deleted: its paid answers would have nowhere to go."""
    fleet.simulator.configure(latency_s=0.5)
    name, content = as_file([good(number) for number in range(900, 903)])
    file = client.files.create(file=(name, content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/responses", completion_window=SOON
    )
    with pytest.raises(openai.ConflictError, match=batch.id) as caught:
        client.files.delete(file.id)
    assert caught.value.code == "file_in_use"
    ended = finished(client, batch)
    assert ended.output_file_id is not None
    assert len(client.files.content(ended.output_file_id).text.splitlines()) == 3
    assert client.files.delete(file.id).deleted


def test_listing(client: OpenAI) -> None:
    """Batches are listed page by page, the newest first."""
    made = [submit(client, [good(number)]).id for number in range(3)]
    listed = [batch.id for batch in client.batches.list(limit=1)]
    assert set(made) <= set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"extra_body": {"surprise": 1}}, "surprise"),
    ],
)
def test_wrong_batches(client: OpenAI, change: dict[str, Any], param: str) -> None:
    """A batch that is asked for wrongly is refused by the name of the field."""
    file = client.files.create(file=as_file([good(1)]), purpose="batch")
    right: Any = {
        "input_file_id": file.id, "endpoint": "/v1/responses", "completion_window": "24h"
    }  # fmt: skip
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(**{**right, **change})
    assert refused.value.param == param


def test_a_day_is_time_enough_for_half_the_price(client: OpenAI, fleet: Fleet) -> None:
    """Lines of `24h` wait for a batch of the provider's, but those that say or need otherwise."""
    lines = [good(4000), good(4001), good(4002)]
    lines[1]["body"]["visionq"] = {"lane": "online"}
    lines[2]["body"]["visionq"] = {"by": "30m"}
    batch = submit(client, lines, window="24h")
    until(lambda: counted(client.batches.retrieve(batch.id)) == (3, 2, 0), 60, "two answers")
    waits = fleet.read("jobs", "show", f"{batch.id}-000001")
    assert waits["state"] in {"queued", "waiting"}
    by = datetime.fromisoformat(waits["document"]["by"])
    assert by.timestamp() == batch.expires_at
    client.batches.cancel(batch.id)
    finished(client, batch, "cancelled")


@pytest.mark.long
def test_a_days_batch_costs_half(client: OpenAI, fleet: Fleet) -> None:
    """Lines of `24h` are answered through the provider's batches, each once, at half the price."""
    fleet.simulator.reset_bill()
    lines = [good(number) for number in range(4200, 4206)]
    done = finished(client, submit(client, lines, window="24h"))
    assert counted(done) == (6, 6, 0)
    tiers = {row["response"]["body"]["service_tier"] for row in rows(client, done.output_file_id)}
    assert tiers == {"batch"}
    charged = fleet.simulator.batch_lines().values()
    assert [len(times) for times in charged] == [1] * 6


@pytest.mark.parametrize(
    ("extras", "model"),
    [({"lane": "online"}, MODEL), ({"by": "10m"}, MODEL), ({}, "openai/gpt-6-luna")],
)
def test_a_batch_may_be_answered_sooner(client: OpenAI, extras: Any, model: str) -> None:
    """`visionq` says it for all lines; a model that has no batches is asked online."""
    one = line("one", {"model": model, "input": asked(4100)})
    done = finished(client, submit(client, [one], window="24h", **extras))
    assert counted(done) == (1, 1, 0)


@pytest.mark.parametrize(
    ("extras", "param", "said"),
    [
        ({"by": "yesterday"}, "visionq.by", "is no time"),
        ({"by": "2020-01-01T00:00Z"}, "visionq.by", "is in the past"),
        ({"by": "09:00 Europe/Nowhere"}, "visionq.by", "there is no time zone"),
        ({"by": "6h", "lane": "batch"}, "visionq.by", "set lane to auto"),
        ({"lane": "express"}, "visionq.lane", "'auto', 'online' or 'batch'"),
    ],
)
def test_a_time_that_nobody_can_keep(
    client: OpenAI, extras: dict[str, Any], param: str, said: str
) -> None:
    """A batch whose moment or lane is wrong is refused by the name of the field."""
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        submit(client, [good(1)], **extras)
    assert refused.value.param == param


def test_memory(client: OpenAI, gateway: Gateway, tmp_path: Path) -> None:
    """A file of 200 MB is taken in and answered within 300 MB of memory."""
    path = tmp_path / "large.jsonl"
    image = {"type": "input_image", "image_url": noise_url()}
    with path.open("w") as file:
        for number in range(100):
            text = {"type": "input_text", "text": f"Question {number}?"}
            # Most are refused when they have been read: the workers are not what is measured.
            more = {"tools": [1]} if number % 5 else {}
            body = {"model": MODEL, "input": [{"role": "user", "content": [text, image]}], **more}
            file.write(json.dumps(line(f"large-{number}", body)) + "\n")
    assert 190_000_000 < path.stat().st_size <= 200_000_000
    uploaded = client.files.create(file=path, purpose="batch")
    batch = client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/responses", completion_window=SOON
    )
    done = finished(client, batch)
    assert done.request_counts
    assert done.request_counts.completed == 20
    assert peak_of(gateway) < 300_000_000


def noise_url() -> str:
    """A picture of 2 MB in base64, which no compression makes smaller."""
    target = io.BytesIO()
    Image.frombytes("RGB", (705, 705), Random(1).randbytes(705 * 705 * 3)).save(target, "PNG")
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"


def peak_of(gateway: Gateway) -> int:
    """Bytes that the gateway has held at most."""
    if not psutil.LINUX:
        return int(psutil.Process(gateway.process.pid).memory_info().rss)
    with open(f"/proc/{gateway.process.pid}/status") as status:  # noqa: PTH123  # no file on a disk
        (line,) = [one for one in status if one.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@contextmanager
def pictures_served() -> Iterator[tuple[str, list[bytes]]]:
    """Give an address where there is no picture until one has been put into the list."""
    served: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if served else 404)
            self.end_headers()
            self.wfile.write(b"".join(served))

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/a.png", served
        server.shutdown()


def test_replay_moves_counts_and_files(client: OpenAI, fleet: Fleet) -> None:
    """A failed line that is replayed goes from the error file to the output file, and so it counts.

    What is no longer known of the other lines stays as the files have it, and the tenant's webhook
    gets the end once more.
    """
    redis = fleet.redis
    lines = [good(3000 + number) for number in range(3)]
    with pictures_served() as (address, served), receiving() as receiver:
        set_webhook(redis, "default", receiver.url, ("batch.completed",))
        elsewhere = good(3)
        elsewhere["body"]["input"][0]["content"][1]["image_url"] = address
        batch = submit(client, [lines[0], elsewhere, broken()[2], *lines[1:]])
        first = finished(client, batch)
        assert counted(first) == (5, 3, 2)
        before = rows(client, first.output_file_id)
        assert [row["custom_id"] for row in rows(client, first.error_file_id)] == ["row-3", "bad-1"]
        redis.delete(f"visionq:job:{batch.id}-000001", f"celery-task-meta-{batch.id}-000001")
        served.append(picture(3))
        (replayed,) = fleet.read("jobs", "replay", "--batch", batch.id, "--yes")["replayed"]
        assert replayed["error"] is None
        done = finished(client, batch)
        assert counted(done) == (5, 4, 1)
        until(
            lambda: receiver.types() == ["batch.completed"] * 2, 60, lambda: str(receiver.types())
        )
        remove_webhook(redis, "default")
    assert done.completed_at is not None
    after = rows(client, done.output_file_id)
    assert [row["custom_id"] for row in after] == ["row-3000", "row-3", "row-3001", "row-3002"]
    assert after[0] == before[0]
    assert "64x48" in after[1]["response"]["body"]["output"][0]["content"][0]["text"]
    assert [row["custom_id"] for row in rows(client, done.error_file_id)] == ["bad-1"]
    assert len({document["id"] for document in receiver.documents()}) == 2


def counted(batch: Batch) -> tuple[int, int, int]:
    counts = batch.request_counts
    assert counts
    return counts.total, counts.completed, counts.failed
