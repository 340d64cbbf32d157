"""What other people's clients send by default, as recorded from them; `make clients` runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx2

RECORDED: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("client_requests.json").read_text()
)


@pytest.mark.parametrize("request_", RECORDED, ids=[one["client"] for one in RECORDED])
def test_default_request(http: httpx2.Client, request_: dict[str, Any]) -> None:
    """Each is answered as it was asked: by an object, by the call of a function, or in events."""
    body = request_["body"]
    answer = http.post(request_["path"], json=body)
    assert answer.status_code == 200, answer.text
    assert "64x48" in answer.text
    is_stream = answer.headers["content-type"].startswith("text/event-stream")
    assert is_stream is bool(body.get("stream"))
    if "tools" in body:
        assert ("function_call" if "input" in body else "tool_calls") in answer.text
