from __future__ import annotations

from typing import Any

import pytest

from visionq.devstack.simulator.question import CHAT_COMPLETIONS, RESPONSES, read_question
from visionq.devstack.simulator.refusals import SimulatedRefusal

URL = "https://example.com/a.jpg"
OPEN_OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
LOOSE_OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": [],
    "additionalProperties": False,
}


def responses(*parts: object, **more: object) -> dict[str, Any]:
    content = list(parts) or [{"type": "input_text", "text": "Что это?"}]
    return {"model": "gpt-6-luna", "input": [{"role": "user", "content": content}], **more}


def chat(*parts: object, **more: object) -> dict[str, Any]:
    content = list(parts) or [{"type": "text", "text": "Что это?"}]
    return {"model": "gpt-6-luna", "messages": [{"role": "user", "content": content}], **more}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    return {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}}


def test_both_forms_of_image_url_in_chat() -> None:
    """Chat Completions takes the object of OpenAI's schema and the page's bare string alike."""
    question = read_question(
        CHAT_COMPLETIONS,
        chat(
            {"type": "image_url", "image_url": URL},
            {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
        ),
    )
    assert [picture.url for picture in question.pictures] == [URL, URL]
    assert [picture.detail for picture in question.pictures] == ["auto", "low"]


def test_detail_stands_beside_the_url_in_responses() -> None:
    """Without a `detail` it is `auto`; texts and instructions are kept as they are."""
    question = read_question(
        RESPONSES,
        responses(
            {"type": "input_text", "text": "Ёж 🦔"},
            {"type": "input_image", "image_url": URL, "detail": "high"},
            {"type": "input_image", "image_url": URL},
            instructions="Кратко",
        ),
    )
    assert [picture.detail for picture in question.pictures] == ["high", "auto"]
    assert question.texts == ["Кратко", "Ёж 🦔"]


@pytest.mark.parametrize(
    ("api", "body", "param", "code"),
    [
        (RESPONSES, [], None, None),
        (RESPONSES, {"input": "hi"}, "model", "missing_required_parameter"),
        (RESPONSES, {"model": "", "input": "hi"}, "model", "missing_required_parameter"),
        (RESPONSES, {"model": 5, "input": "hi"}, "model", "invalid_type"),
        (RESPONSES, {"model": "m"}, "input", "missing_required_parameter"),
        (RESPONSES, {"model": "m", "input": []}, "input", "missing_required_parameter"),
        (RESPONSES, {"model": "m", "input": 5}, "input", "invalid_type"),
        (RESPONSES, {"model": "m", "input": ["x"]}, "input[0]", "invalid_type"),
        (RESPONSES, {"model": "m", "input": [{}]}, "input[0].role", "missing_required_parameter"),
        (
            RESPONSES,
            {"model": "m", "input": [{"role": "boss", "content": "x"}]},
            "input[0].role",
            "invalid_value",
        ),
        (RESPONSES, responses(nonsense=1), "nonsense", "unknown_parameter"),
        (RESPONSES, responses(messages=[]), "messages", "unknown_parameter"),
        (RESPONSES, responses(max_tokens=5), "max_tokens", "unknown_parameter"),
        (RESPONSES, responses(stream=True), "stream", "unsupported_parameter"),
        (RESPONSES, responses(temperature=2.1), "temperature", "decimal_above_max_value"),
        (RESPONSES, responses(temperature="hot"), "temperature", "invalid_type"),
        (
            RESPONSES,
            responses(max_output_tokens=15),
            "max_output_tokens",
            "integer_below_min_value",
        ),
        (RESPONSES, responses(max_output_tokens=16.5), "max_output_tokens", "invalid_type"),
        (
            RESPONSES,
            responses({"type": "text", "text": "x"}),
            "input[0].content[0].type",
            "invalid_value",
        ),
        (
            RESPONSES,
            responses({"type": "input_image", "image_url": URL, "detail": "ultra"}),
            "input[0].content[0].detail",
            "invalid_value",
        ),
        (
            RESPONSES,
            responses({"type": "input_image"}),
            "input[0].content[0].image_url",
            "missing_required_parameter",
        ),
        (
            RESPONSES,
            responses({"type": "input_image", "image_url": {"url": URL}}),
            "input[0].content[0].image_url",
            "invalid_type",
        ),
        (
            RESPONSES,
            responses({"type": "input_image", "image_url": "ftp://example.com/a.jpg"}),
            "input[0].content[0].image_url",
            "invalid_image_url",
        ),
        (
            RESPONSES,
            responses(text={"format": {"type": "xml"}}),
            "text.format.type",
            "invalid_value",
        ),
        (
            RESPONSES,
            responses(text=strict(OPEN_OBJECT)),
            "text.format.schema",
            "invalid_json_schema",
        ),
        (
            RESPONSES,
            responses(text=strict(LOOSE_OBJECT)),
            "text.format.schema",
            "invalid_json_schema",
        ),
        (
            RESPONSES,
            responses(text=strict({"type": "array"})),
            "text.format.schema",
            "invalid_json_schema",
        ),
        (CHAT_COMPLETIONS, {"model": "m"}, "messages", "missing_required_parameter"),
        (CHAT_COMPLETIONS, {"model": "m", "messages": "hi"}, "messages", "invalid_type"),
        (CHAT_COMPLETIONS, chat(input="x"), "input", "unknown_parameter"),
        (CHAT_COMPLETIONS, chat(n=2), "n", "unsupported_parameter"),
        (
            CHAT_COMPLETIONS,
            chat({"type": "input_image", "image_url": URL}),
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            CHAT_COMPLETIONS,
            chat({"type": "image_url", "image_url": {"url": URL, "detail": 5}}),
            "messages[0].content[0].image_url.detail",
            "invalid_value",
        ),
        (
            CHAT_COMPLETIONS,
            chat({"type": "image_url", "image_url": {}}),
            "messages[0].content[0].image_url.url",
            "missing_required_parameter",
        ),
        (
            CHAT_COMPLETIONS,
            chat(response_format={"type": "json_schema", "json_schema": {"name": "a b"}}),
            "response_format.json_schema.name",
            "invalid_value",
        ),
    ],
)
def test_wrong_requests_are_refused(
    api: str, body: object, param: str | None, code: str | None
) -> None:
    """A request that the provider would refuse gets 400 with the parameter and the code."""
    with pytest.raises(SimulatedRefusal) as caught:
        read_question(api, body)
    assert caught.value.status == 400
    error = caught.value.body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == (
        "invalid_request_error",
        param,
        code,
    )
