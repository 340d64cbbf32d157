"""From messages of OpenAI's APIs to the one question that a job is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.gateway.access import Scope, scope_for
from producer.gateway.openai.chat import ChatRequest
from producer.gateway.openai.parts import Image, Said, Text, question_in
from producer.gateway.openai.responses import ResponseRequest

WORDS = st.text(min_size=1).filter(str.strip)
PICTURES = st.lists(st.builds(Image, WORDS, st.just("low")), min_size=1, max_size=5)
TEXTS = st.lists(st.builds(Text, WORDS), min_size=1, max_size=5)


@given(TEXTS, PICTURES, st.booleans(), st.lists(WORDS, max_size=3), st.none() | WORDS)
def test_nothing_is_lost(
    texts: list[Text], images: list[Image], first: bool, rules: list[str], given: str | None
) -> None:
    """Every text, picture and instruction of a question is in the job, each in its order."""
    parts: tuple[Text | Image, ...] = (*texts, *images) if first else (*images, *texts)
    system = [Said("system", (Text(rule),)) for rule in rules]
    fields = question_in([*system, Said("user", parts)], "input", given)
    assert fields["prompt"] == "\n\n".join(text.text for text in texts)
    assert fields["images"] == [{"url": image.url} for image in images]
    assert fields["detail"] == "low"
    wanted = [*([given] if given else []), *rules]
    assert fields.get("instructions") == ("\n\n".join(wanted) if wanted else None)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ([("system", "a")], "input"),
        ([("user", "ai"), ("system", "a")], "input"),
        ([("user", "ai"), ("user", "ai")], "input"),
        ([("user", "a")], "input.0.content"),
        ([("user", "i")], "input.0.content"),
        ([("user", "aia")], "input.0.content"),
        ([("user", "iai")], "input.0.content"),
        ([("system", "i"), ("user", "ai")], "input.0.content"),
        ([("user", "aiI")], "input.0.content"),
    ],
)
def test_what_is_more_than_a_question_is_refused(said: list[tuple[str, str]], field: str) -> None:
    """What would lose its sense as one text and some pictures is refused by its place."""
    kinds: dict[str, Any] = {"a": Text("?"), "i": Image("u", "low"), "I": Image("u", "high")}
    messages = [Said(role, tuple(kinds[kind] for kind in parts)) for role, parts in said]
    with pytest.raises(ValueError, match=f"^{field}: "):
        question_in(messages, "input")


def test_both_apis_ask_the_same() -> None:
    """The same question by either API is the same job, but for the surface that is called."""
    url, schema = "https://example.org/a.jpg", {"type": "object", "properties": {}}
    response = ResponseRequest.model_validate(
        {
            "model": "m", "instructions": "Be brief.", "max_output_tokens": 99, "temperature": 0.5,
            "metadata": {"a": "b"}, "visionq": {"reuse": "off"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}},
            "input": [{"role": "user", "content": [
                {"type": "input_text", "text": "?"},
                {"type": "input_image", "image_url": url, "detail": "high"},
            ]}],
        }
    )  # fmt: skip
    chat = ChatRequest.model_validate(
        {
            "model": "m", "max_tokens": 99, "temperature": 0.5, "metadata": {"a": "b"},
            "visionq": {"reuse": "off"},
            "response_format": {
                "type": "json_schema", "json_schema": {"name": "n", "schema": schema},
            },
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "?"},
                    {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
                ]},
            ],
        }
    )  # fmt: skip
    first, second = response.to_fields(), chat.to_fields()
    assert first.pop("api") != second.pop("api")
    assert first == second
    assert first["answer_schema"] == schema
    assert first["reuse"] == "off"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/responses/a", Scope.READ),
        ("GET", "/v1/batches/cancel", Scope.READ),
        ("POST", "/v1/responses", Scope.SUBMIT),
        ("POST", "/v1/responses/a/cancel", Scope.OPERATE),
        ("DELETE", "/v1/files/a", Scope.OPERATE),
    ],
)
def test_scopes(method: str, path: str, scope: Scope) -> None:
    """Looking, handing in and interfering each need a scope of their own."""
    assert scope_for(method, path) == scope
