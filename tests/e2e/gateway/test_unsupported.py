"""What is not supported is refused in the words that the documents show, and tokens are counted."""

from __future__ import annotations

import base64
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.support.gateway import asked, said
from tests.support.pictures import picture

if TYPE_CHECKING:
    import httpx2
    from openai import OpenAI

DOCS = Path(__file__).parents[3] / "docs"
MODEL = "gpt-6-luna"
ROW = re.compile(r"^\| `([a-z/]+)` \| `(\{.*\})` \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall((DOCS / "gateway.md").read_text())


def test_the_lists_are_the_same() -> None:
    """Both languages list the same requests and messages."""
    assert len(ROWS) > 30
    assert ROW.findall((DOCS / "gateway.ru.md").read_text()) == ROWS


@pytest.mark.parametrize(("path", "example", "message"), ROWS)
def test_refused_in_these_words(http: httpx2.Client, path: str, example: str, message: str) -> None:
    """Each example of the list is refused with 400, the field's name and the message."""
    given: dict[str, Any] = json.loads(example)
    if path == "files":
        answer = http.post("/v1/files", data=given, files={"file": ("in.jsonl", b"{}")})
    else:
        question = {"input": asked(1)} if path == "responses" else {"messages": said(1)}
        answer = http.post(f"/v1/{path}", json={"model": MODEL, **question, **given})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["message"], error["code"]) == (message, "invalid_job")
    assert error["param"] == message.partition(": ")[0]


def test_unknown_fields_of_a_form(http: httpx2.Client) -> None:
    """A form of `/v1/jobs` with a field that a job has not is refused by its name."""
    files = {"image": ("a.png", picture(1))}
    answer = http.post("/v1/jobs", data={"prompt": "?", "nonsense": "1"}, files=files)
    assert (answer.status_code, answer.json()["param"]) == (422, "nonsense")


def test_tokens_are_counted(client: OpenAI) -> None:
    """The count is about that of the answer's bill; what can't be asked can't be counted."""
    question = asked(31)
    content = base64.b64encode(picture(31, (1024, 768))).decode()
    question[0]["content"][1] |= {"image_url": f"data:image/png;base64,{content}", "detail": "high"}
    counted = client.responses.input_tokens.count(model=MODEL, input=question)
    usage = client.responses.create(model=MODEL, input=question).usage
    assert counted.object == "response.input_tokens"
    assert usage is not None
    # The forecast of the texts is a rule of thumb; the picture is most of it.
    assert usage.input_tokens > 500
    assert counted.input_tokens == pytest.approx(usage.input_tokens, abs=20)
    by_address = deepcopy(question)
    by_address[0]["content"][1]["image_url"] = "https://example.org/a.png"
    most = client.responses.input_tokens.count(model=MODEL, input=by_address)
    assert most.input_tokens >= counted.input_tokens
    wrong = asked(31)
    wrong[0]["content"][1]["image_url"] = "data:image/png;base64,aGVsbG8="
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.input_tokens.count(model=MODEL, input=wrong)
    assert refused.value.code == "not_an_image"


def test_tokens_of_what_is_refused(client: OpenAI) -> None:
    """The count of a request is refused for the same reasons as its response, in the same words."""
    question = {"model": MODEL, "input": asked(32)}
    for wrong in ({"model": "gpt-unheard-of"}, {"reasoning": {"effort": "endless"}}):
        refusals = []
        for ask in (client.responses.create, client.responses.input_tokens.count):
            with pytest.raises(openai.APIStatusError) as refused:
                ask(**question | wrong)
            refusals.append((refused.value.status_code, refused.value.body))
        assert refusals[0] == refusals[1]
