"""What the ledger writes for Celery, held against what the installed Celery reads and writes."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from visionq.contract import ResultDocument
from visionq.errors import Cancelled, ImageError, NotAnImage, RateLimited, VisionqError
from visionq.ledger import celery_results, error_document

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_800_000_000.25
ID = "5b0d6f0e-3a55-4c7e-9f60-6f2f6f6f0001"


@pytest.fixture(scope="module")
def backend() -> Iterator[Any]:
    """Celery's own Redis backend; nothing here makes it connect."""
    from celery import Celery  # noqa: PLC0415  # takes seconds, and only these tests need it

    app = Celery("bare", broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0")
    yield app.backend
    app.close()


def _own(backend: Any, result: Any, status: str) -> str:
    """Encode as `store_result` of the backend does."""
    encoded = backend.encode_result(result, status)
    request = SimpleNamespace(children=[])  # of a task that started no others
    meta = backend._get_result_meta(result=encoded, state=status, traceback=None, request=request)
    stored: str = backend.encode({**meta, "task_id": ID})
    return stored


def _assert_alike(backend: Any, ours: str, own: str) -> None:
    read, expected = backend.decode_result(ours), backend.decode_result(own)
    assert list(read) == list(expected)
    mine, theirs = read.pop("result"), expected.pop("result")
    if isinstance(theirs, BaseException):
        assert type(mine) is type(theirs)
        assert str(mine) == str(theirs)
    else:
        assert mine == theirs
    for meta in (read, expected):
        done = meta.pop("date_done")
        assert (done is None) == (meta["status"] == "RETRY")
        assert done is None or done.endswith("+00:00")
    assert read == expected


def test_success(backend: Any) -> None:
    """A completed job is what Celery writes for a task that returned the result document."""
    result = ResultDocument(id=ID, model="m", api="responses", text="кот", data={"a": [1, None]})
    stored = celery_results.success(ID, result.to_json(), NOW)
    _assert_alike(backend, stored, _own(backend, result.to_public(), "SUCCESS"))


def test_failure(backend: Any) -> None:
    """A failed job is what Celery writes for a task that raised the error of the tree."""
    error = NotAnImage("not a picture but text")
    ours = celery_results.failure(ID, error_document(error), "NotAnImage", NOW)
    _assert_alike(backend, ours, _own(backend, error, "FAILURE"))


def test_failure_names_the_picture(backend: Any) -> None:
    """With the error tree one gets the class, and the text names code, picture and message."""
    error = NotAnImage("not a picture", image="a.png")
    ours = celery_results.failure(ID, error_document(error), "NotAnImage", NOW)
    raised = backend.decode_result(ours)["result"]
    assert isinstance(raised, ImageError)
    assert str(raised) == str(error) == "not_an_image: a.png: not a picture"


def test_failure_without_visionq(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a program that has no visionq the code is in the message, under the same class name."""
    monkeypatch.delitem(sys.modules, "visionq.errors")
    error = NotAnImage("not a picture", image="a.png")
    ours = celery_results.failure(ID, error_document(error), "NotAnImage", NOW)
    raised = backend.decode_result(ours)["result"]
    assert isinstance(raised, Exception)
    assert not isinstance(raised, VisionqError)
    assert type(raised).__name__ == "NotAnImage"
    assert str(raised) == "not_an_image: a.png: not a picture"


def test_revoked(backend: Any) -> None:
    """A cancelled job is what Celery writes for a revoked task, and says so with our code."""
    from celery.exceptions import TaskRevokedError  # noqa: PLC0415  # as above

    text = str(Cancelled("the job was cancelled"))
    ours = celery_results.revoked(ID, text, NOW)
    _assert_alike(backend, ours, _own(backend, TaskRevokedError(text), "REVOKED"))
    assert str(backend.decode_result(ours)["result"]) == "cancelled: the job was cancelled"


def test_retry(backend: Any) -> None:
    """A waiting or parked job is in Celery's state RETRY, with the reason, and is not ready."""
    ours = celery_results.retry(ID, "waiting: rate_limited")
    own = _own(backend, RateLimited("waiting: rate_limited"), "RETRY")
    read, expected = backend.decode_result(ours), backend.decode_result(own)
    assert list(read) == list(expected)
    assert read["status"] not in backend.READY_STATES
    assert read["date_done"] is expected["date_done"] is None
    assert "rate_limited" in str(read["result"])


def test_other_alphabets_stay_readable() -> None:
    """Text of other alphabets is stored as it is, not escaped."""
    result = ResultDocument(id=ID, model="m", api="responses", text="кот")
    assert "кот" in celery_results.success(result.id, result.to_json(), NOW)


def test_read_back() -> None:
    """The ledger's own readers get status and result out of the stored form."""
    status, result = celery_results.read(celery_results.retry(ID, "parked: billing_unknown"))
    assert (status, result["exc_type"]) == ("RETRY", "Retry")
    assert json.loads(celery_results.revoked(ID, "x", NOW))["task_id"] == ID
