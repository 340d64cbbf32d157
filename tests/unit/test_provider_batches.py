"""The Batch API's client says of each call whether it may have arrived, and loses no line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionq.contract import Api
from visionq.errors import (
    BatchApiMissing,
    BillingUnknown,
    InsufficientBalance,
    ProviderUnavailable,
    RateLimited,
    Refused,
    RequestRejected,
    VisionqError,
)
from visionq.pricing.batch_lane import load_batch_table
from visionq.providers import load_profile
from visionq.settings import Settings
from worker.provider.batch_files import BatchFile, line_of, read_line, split_lines
from worker.provider.batches import MARK_FIELD, BatchStatus, HttpBatchApi, read_batch
from worker.provider.provider_client import make_client
from worker.provider.request import ProviderRequest

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(redis_url="redis://localhost", base_url="http://127.0.0.1:9/openai/v1")
REQUEST = ProviderRequest(Api.RESPONSES, "/responses", b'{"model":"m","input":"?"}', ())
BATCH: dict[str, Any] = {
    "id": "batch_1",
    "object": "batch",
    "status": "in_progress",
    "input_file_id": "file-1",
    "created_at": 100,
    "metadata": {MARK_FIELD: "mark-1"},
    "request_counts": {"total": 3, "completed": 1, "failed": 0},
}
ANSWER: dict[str, Any] = {
    "status": "completed",
    "output": [{"content": [{"type": "output_text", "text": "a cat"}]}],
    "usage": {"input_tokens": 10, "output_tokens": 2},
}

Handler = Callable[[httpx2.Request], httpx2.Response]


def api_of(handler: Handler) -> HttpBatchApi:
    client = make_client(SETTINGS, httpx2.Client(transport=httpx2.MockTransport(handler)))
    return HttpBatchApi(client, client, load_profile(), clock=lambda: 0.0)


def saying(status: int, body: object) -> Handler:
    return lambda _: httpx2.Response(status, json=body)


def failing(error: type[httpx2.HTTPError]) -> Handler:
    def handler(request: httpx2.Request) -> httpx2.Response:
        raise (
            error("broken", request=request)
            if issubclass(error, httpx2.RequestError)
            else error("broken")
        )

    return handler


REFUSALS: list[tuple[Handler, type[VisionqError]]] = [
    (failing(httpx2.ConnectError), ProviderUnavailable),
    (failing(httpx2.ReadTimeout), BillingUnknown),
    (failing(httpx2.RemoteProtocolError), BillingUnknown),
    (saying(502, {"oops": 1}), BillingUnknown),
    (lambda _: httpx2.Response(200, text="<html>"), BillingUnknown),
    (saying(200, {"object": "batch"}), BillingUnknown),
    (saying(404, {"detail": "Not Found"}), BatchApiMissing),
    (lambda _: httpx2.Response(405, text="no"), BatchApiMissing),
    (
        saying(404, {"error": {"message": "Invalid URL (POST /v1/batches)", "code": None}}),
        BatchApiMissing,
    ),
    (saying(404, {"error": {"message": "No such File object: f", "code": None}}), RequestRejected),
    (saying(402, {"detail": "Insufficient balance to run this request."}), InsufficientBalance),
    (saying(429, {"error": {"code": "rate_limit_exceeded", "message": "slow"}}), RateLimited),
    (
        saying(400, {"error": {"code": "token_limit_exceeded", "message": "Enqueued token limit"}}),
        RateLimited,
    ),
    (saying(503, {"error": {"code": "server_error", "message": "?"}}), ProviderUnavailable),
]


@pytest.mark.parametrize(("handler", "error"), REFUSALS)
def test_creation_says_whether_it_may_have_arrived(
    handler: Handler, error: type[VisionqError]
) -> None:
    with pytest.raises(VisionqError) as caught:
        api_of(handler).create("file-1", Api.RESPONSES, "mark-1")
    assert type(caught.value) is error


@pytest.mark.parametrize(("handler", "error"), REFUSALS)
def test_an_upload_says_whether_it_may_have_arrived(
    handler: Handler, error: type[VisionqError], tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"{}\n")
    with pytest.raises(VisionqError) as caught:
        api_of(handler).upload(path, "mark-1")
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "handler", [failing(httpx2.ReadTimeout), saying(502, {"oops": 1}), saying(200, {"id": 3})]
)
def test_what_may_be_repeated_never_ends_unknown(handler: Handler) -> None:
    with pytest.raises(ProviderUnavailable):
        api_of(handler).get("batch_1")


def test_an_upload_is_named_by_its_mark(tmp_path: Path) -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        request.read()
        seen.append(request)
        return httpx2.Response(200, json={"id": "file-7", "object": "file"})

    path = tmp_path / "lines"
    path.write_bytes(b'{"a":1}\n')
    assert api_of(handler).upload(path, "mark-7") == "file-7"
    assert seen[0].url.path == "/openai/v1/files"
    assert seen[0].headers["content-type"].startswith("multipart/form-data; boundary=")
    assert seen[0].headers["authorization"] == "Bearer none"
    for part in (b'name="purpose"', b"batch", b'filename="mark-7.jsonl"', b'{"a":1}\n'):
        assert part in seen[0].content


def test_creation_carries_mark_endpoint_and_window() -> None:
    bodies: list[Any] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, json=BATCH)

    batch = api_of(handler).create("file-1", Api.CHAT_COMPLETIONS, "mark-1")
    assert bodies == [
        {
            "input_file_id": "file-1",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {MARK_FIELD: "mark-1"},
        }
    ]
    assert (batch.id, batch.mark, batch.status) == ("batch_1", "mark-1", BatchStatus.IN_PROGRESS)
    assert (batch.total, batch.completed, batch.created_at) == (3, 1, 100.0)


def listing(batches: list[dict[str, Any]]) -> Handler:
    """A list in pages of two, newest first."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        ids = [batch["id"] for batch in batches]
        after = request.url.params.get("after")
        start = ids.index(after) + 1 if after else 0
        page = batches[start : start + 2]
        more = start + 2 < len(batches)
        return httpx2.Response(200, json={"object": "list", "data": page, "has_more": more})

    return handler


def test_a_batch_is_found_by_its_mark_on_any_page() -> None:
    rows = [
        BATCH | {"id": f"batch_{n}", "created_at": 100 - n, "metadata": {MARK_FIELD: f"m{n}"}}
        for n in range(7)
    ]
    api = api_of(listing(rows))
    found = api.find("m5", since=0)
    assert found is not None
    assert found.id == "batch_5"
    assert api.find("m5", since=96) is None, "older ones are not looked at"
    assert api.find("nobody's", since=0) is None
    assert [batch.mark for batch in api.recent(since=98)] == ["m0", "m1", "m2"]


@pytest.mark.parametrize("status", [400, 409])
def test_cancelling_what_has_ended_returns_it(status: int) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            error = {"message": "Cannot cancel a batch with status 'completed'.", "code": None}
            return httpx2.Response(status, json={"error": error})
        return httpx2.Response(200, json=BATCH | {"status": "completed"})

    assert api_of(handler).cancel("batch_1").status is BatchStatus.COMPLETED


def test_deleting_what_is_gone_is_no_error() -> None:
    error = {"message": "No such File object: file-1", "code": None}
    api_of(saying(404, {"error": error})).delete("file-1")


@pytest.mark.parametrize("name", ["", "a/b", "../models", "x" * 300, "a?b", "файл"])
def test_no_id_leads_to_another_path(name: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        api_of(saying(200, BATCH)).get(name)


@dataclass
class Broken(httpx2.SyncByteStream):
    """A body that breaks off."""

    content: bytes
    breaks: bool = True

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        if self.breaks:
            raise httpx2.ReadError("cut")


@dataclass
class Download:
    """A file whose download is cut after these numbers of bytes."""

    content: bytes
    cuts: list[int]
    ranges: bool = True
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        wanted = request.headers.get("range", "bytes=0-")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if self.ranges else 0
        if start and start >= len(self.content):
            return httpx2.Response(416)
        rest = self.content[start:]
        status = 206 if self.ranges and start else 200
        if not self.cuts:
            return httpx2.Response(status, stream=Broken(rest, breaks=False))
        return httpx2.Response(status, stream=Broken(rest[: self.cuts.pop(0)]))


def output(custom_id: str, body: object = ANSWER, status: int = 200) -> bytes:
    response = {"status_code": status, "request_id": "req_1", "body": body}
    return json.dumps({"custom_id": custom_id, "response": response, "error": None}).encode()


@given(
    count=st.integers(0, 5),
    cuts=st.lists(st.integers(0, 900), max_size=4),
    ranges=st.booleans(),
)
def test_a_cut_download_is_taken_up_where_it_broke(
    count: int, cuts: list[int], ranges: bool
) -> None:
    content = b"\n".join(output(f"line-{n}") for n in range(count))
    download = Download(content, cuts, ranges)
    lines = list(api_of(download).lines("file-9"))
    assert [line.custom_id for line in lines] == [f"line-{n}" for n in range(count)]


def test_a_download_cut_behind_its_last_byte_is_whole() -> None:
    content = output("one") + b"\n" + output("two")
    lines = list(api_of(Download(content, [len(content)])).lines("file-9"))
    assert [line.custom_id for line in lines] == ["one", "two"]


def test_a_download_that_is_refused_never_ends_unknown() -> None:
    with pytest.raises(ProviderUnavailable):
        list(api_of(saying(502, {"oops": 1})).lines("file-9"))


def test_a_download_that_always_breaks_is_given_up_after_what_came() -> None:
    content = output("one") + b"\n" + output("two")
    download = Download(content, [len(output("one")) + 1, *[0] * 20])
    lines = api_of(download).lines("file-9")
    assert next(lines).custom_id == "one"
    with pytest.raises(ProviderUnavailable, match="breaks off"):
        next(lines)
    assert len(download.asked) == 6, "five cuts in a row without a byte end it"


def test_a_line_answers_as_the_online_call_would() -> None:
    line = read_line(output("a"))
    assert line is not None
    answer = line.answer(REQUEST, now=0)
    assert (answer.text, answer.request_id) == ("a cat", "req_1")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 2)


@pytest.mark.parametrize(
    ("document", "error", "asked"),
    [
        ({"error": {"code": "batch_expired", "message": "late"}}, ProviderUnavailable, False),
        ({"error": {"code": "batch_cancelled", "message": "stop"}}, ProviderUnavailable, False),
        ({"error": {"code": "request_timeout", "message": "slow"}}, BillingUnknown, True),
        ({"error": None, "response": None}, BillingUnknown, True),
        ({"response": {"status_code": 0, "body": {"a": 1}}}, BillingUnknown, True),
        ({"response": {"status_code": 200, "body": {}}}, BillingUnknown, True),
        ({"response": {"status_code": 502, "body": "<html>"}}, BillingUnknown, True),
        (
            {"response": {"status_code": 400, "body": {"error": {"message": "bad field"}}}},
            RequestRejected,
            True,
        ),
        (
            {
                "response": {
                    "status_code": 400,
                    "body": {"error": {"code": "content_policy_violation", "message": "no"}},
                }
            },
            Refused,
            True,
        ),
    ],
)
def test_a_line_without_an_answer_says_whether_it_may_have_cost(
    document: dict[str, Any], error: type[VisionqError], asked: bool
) -> None:
    line = read_line(json.dumps({"custom_id": "a", **document}).encode())
    assert line is not None
    assert line.was_asked is asked
    with pytest.raises(VisionqError) as caught:
        line.answer(REQUEST, now=0)
    assert type(caught.value) is error


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_any_bytes_are_a_line_or_none(text: bytes) -> None:
    read_line(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*BATCH, "errors", "completed_at", "expires_at"]), JSON))
def test_any_document_is_a_batch_or_none(changes: dict[str, Any]) -> None:
    batch = read_batch(BATCH | changes)
    if batch is not None:
        assert batch.id
        assert 0 <= batch.total <= 10**7


@given(st.dictionaries(st.sampled_from(["response", "error", "id"]), JSON))
def test_any_line_ends_in_an_answer_or_one_of_our_errors(changes: dict[str, Any]) -> None:
    line = read_line(json.dumps({"custom_id": "a", **changes}).encode())
    assert line is not None
    with contextlib.suppress(VisionqError):
        assert line.answer(REQUEST, now=0).text


@given(st.lists(st.binary(max_size=30)), st.integers(1, 7))
def test_lines_are_the_same_however_they_come_in_pieces(parts: list[bytes], size: int) -> None:
    whole = b"\n".join(parts)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert list(split_lines(pieces)) == [line for line in whole.split(b"\n") if line.strip()]


def test_a_line_without_end_is_not_held() -> None:
    pieces = (b"x" * 1_000_000 for _ in range(40))
    (line,) = split_lines(pieces)
    assert len(line) <= 16 * 1024 * 1024


@given(st.text(min_size=1, max_size=60))
def test_a_line_asks_with_the_online_body_byte_for_byte(custom_id: str) -> None:
    line = line_of(custom_id, REQUEST)
    assert line.endswith(b'"body":' + REQUEST.body + b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/responses",
        "body": json.loads(REQUEST.body),
    }


@pytest.mark.parametrize("limit", ["lines", "bytes", "enqueued_tokens"])
def test_a_file_is_filled_up_to_each_limit_and_never_over(limit: str, tmp_path: Path) -> None:
    size = len(line_of("job-0", REQUEST))
    most = {"lines": 3, "bytes": 3 * size + 1, "enqueued_tokens": 30}
    limits = load_batch_table(None).limits.model_copy(update={limit: most[limit]})
    with BatchFile(tmp_path / "lines", limits) as file:
        added = [file.add(f"job-{n}", REQUEST, tokens=10) for n in range(5)]
    assert added == [True, True, True, False, False]
    assert (tmp_path / "lines").read_bytes().count(b"\n") == 3
    assert (file.lines, file.bytes, file.tokens) == (3, 3 * size, 30)
