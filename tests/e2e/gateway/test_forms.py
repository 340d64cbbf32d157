"""Objects as answers, in every form in which OpenAI's official Python client asks for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.support.gateway import asked, said
from visionq.ledger.views import job_document

if TYPE_CHECKING:
    from openai import OpenAI

    from tests.support.fleet import Fleet

MODEL = "gpt-6-luna"
SCHEMA = {
    "type": "object",
    "properties": {"description": {"type": "string"}},
    "required": ["description"],
}
FUNCTION: Any = {"name": "see", "description": "Tell what is seen.", "parameters": SCHEMA}


def test_any_object(client: OpenAI) -> None:
    """`json_object` brings JSON by both APIs, also where no text of the question says "JSON"."""
    form: Any = {"format": {"type": "json_object"}}
    response = client.responses.create(model=MODEL, input=asked(20), text=form)
    assert "64x48" in json.loads(response.output_text)["description"]
    assert response.text is not None
    assert response.text.format is not None
    assert response.text.format.type == "json_object"
    completion = client.chat.completions.create(
        model=MODEL, messages=said(21), response_format={"type": "json_object"}
    )
    assert "64x48" in json.loads(completion.choices[0].message.content or "")["description"]


def test_call_in_a_completion(client: OpenAI, fleet: Fleet) -> None:
    """The answer is the call of the one function, and the cached answer is one again."""
    tools: Any = [{"type": "function", "function": FUNCTION}]
    choice: Any = {"type": "function", "function": {"name": "see"}}
    for cached in (False, True):
        completion = client.chat.completions.create(
            model=MODEL, messages=said(22), tools=tools, tool_choice=choice
        )
        calls = completion.choices[0].message.tool_calls
        assert calls is not None
        assert calls[0].type == "function"
        assert calls[0].function.name == "see"
        assert "64x48" in json.loads(calls[0].function.arguments)["description"]
        assert completion.model_extra is not None
        assert completion.model_extra["visionq"]["cached"] is cached
    document = job_document(fleet.redis, completion.id)
    assert document is not None
    assert document.metadata == {}


def test_call_in_a_response(client: OpenAI) -> None:
    """The answer is an item `function_call`, also when the response is looked at later."""
    tools: Any = [{"type": "function", "strict": True, **FUNCTION}]
    response = client.responses.create(
        model=MODEL, input=asked(23), tools=tools, tool_choice="required"
    )
    assert client.responses.retrieve(response.id).output == response.output
    (item,) = response.output
    assert item.type == "function_call"
    assert "64x48" in json.loads(item.arguments)["description"]
    assert response.tool_choice == "required"
    assert response.output_text == ""


def test_verbosity_and_short_answers(client: OpenAI) -> None:
    """`text.verbosity` reaches the provider by either API; completions may be shorter than 16."""
    response = client.responses.create(model=MODEL, input=asked(24), text={"verbosity": "low"})
    assert response.text is not None
    assert response.text.verbosity == "low"
    chat: Any = {
        "model": MODEL,
        "messages": said(25),
        "verbosity": "low",
        "max_completion_tokens": 5,
    }
    assert client.chat.completions.create(**chat).choices[0].finish_reason == "length"
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input=asked(24), max_output_tokens=15)
    assert refused.value.param == "max_output_tokens"
