"""The body of the call, for both surfaces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from visionq.contract import Api, Detail, JobDocument, parse_job
from visionq.errors import InvalidJob
from worker.provider.request import build_request

DATA_URL = "data:image/jpeg;base64,/9j/4AAQ"
ADDRESS = "https://example.com/b.png"
SCHEMA = {
    "type": "object",
    "properties": {"объект": {"type": "string"}},
    "required": ["объект"],
}


def job(**fields: Any) -> JobDocument:  # any field of the job
    images = [{"url": "https://example.com/a.jpg"}, {"url": ADDRESS, "name": "b"}]
    defaults = {
        "prompt": "Что изображено на картинке?",
        "images": images,
        "model": "gpt-6-luna",
        "max_output_tokens": 300,
    }
    return parse_job(defaults | fields)


def body_of(document: JobDocument) -> dict[str, Any]:
    request = build_request(document, [DATA_URL, ADDRESS])
    body: dict[str, Any] = json.loads(request.body)
    return body


def test_a_question_through_responses() -> None:
    """The prompt goes first, then every picture in order with its detail beside it."""
    request = build_request(job(), [DATA_URL, ADDRESS])
    assert request.path == "/responses"
    assert request.images == ("https://example.com/a.jpg", "b")
    assert json.loads(request.body) == {
        "model": "gpt-6-luna",
        "store": False,
        "max_output_tokens": 300,
        "prompt_cache_options": {"mode": "explicit"},
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Что изображено на картинке?"},
                    {"type": "input_image", "image_url": DATA_URL, "detail": "auto"},
                    {"type": "input_image", "image_url": ADDRESS, "detail": "auto"},
                ],
            }
        ],
    }


def test_a_question_through_chat() -> None:
    """Address and detail of a picture are inside an object; the limit has its newer name."""
    request = build_request(job(api=Api.CHAT_COMPLETIONS), [DATA_URL, ADDRESS])
    assert request.path == "/chat/completions"
    assert json.loads(request.body) == {
        "model": "gpt-6-luna",
        "store": False,
        "max_completion_tokens": 300,
        "prompt_cache_options": {"mode": "explicit"},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Что изображено на картинке?"},
                    {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "auto"}},
                    {"type": "image_url", "image_url": {"url": ADDRESS, "detail": "auto"}},
                ],
            }
        ],
    }


@pytest.mark.parametrize("detail", list(Detail))
def test_detail_is_said_for_every_picture(detail: Detail) -> None:
    """Each picture carries the job's detail, on either surface."""
    responses = body_of(job(detail=detail))["input"][0]["content"][1:]
    chat = body_of(job(detail=detail, api=Api.CHAT_COMPLETIONS))["messages"][0]["content"][1:]
    assert [part["detail"] for part in responses] == [detail.value] * 2
    assert [part["image_url"]["detail"] for part in chat] == [detail.value] * 2


def test_instructions_go_before_everything_else() -> None:
    """Responses has a field of its own for instructions, Chat a system message."""
    body = body_of(job(instructions="Отвечай кратко."))
    assert body["instructions"] == "Отвечай кратко."
    assert list(body).index("instructions") < list(body).index("input")
    messages = body_of(job(instructions="Отвечай кратко.", api=Api.CHAT_COMPLETIONS))["messages"]
    assert messages[0] == {"role": "system", "content": "Отвечай кратко."}


@pytest.mark.parametrize("api", list(Api))
def test_temperature_only_where_asked_for(api: Api) -> None:
    """A temperature passes through, zero included; without one nothing is reported of it."""
    assert body_of(job(api=api, temperature=0))["temperature"] == 0
    assert "temperature" not in body_of(job(api=api))


def test_a_schema_in_the_form_of_each_surface() -> None:
    """The schema is sent strict where it can be, under the field of its surface."""
    strict = {**SCHEMA, "additionalProperties": False}
    form = {"name": "answer", "schema": strict, "strict": True}
    responses = body_of(job(answer_schema=SCHEMA))
    chat = body_of(job(answer_schema=SCHEMA, api=Api.CHAT_COMPLETIONS))
    assert responses["text"] == {"format": {"type": "json_schema", **form}}
    assert chat["response_format"] == {"type": "json_schema", "json_schema": form}


def test_a_schema_that_can_not_be_strict_is_sent_as_it_is() -> None:
    """An open object has no strict form, so the schema goes unchanged and not strict."""
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    form = body_of(job(answer_schema=schema))["text"]["format"]
    assert form["strict"] is False
    assert form["schema"] == schema


def test_other_alphabets_are_not_escaped() -> None:
    """Cyrillic goes out as it is, in the prompt and in the schema."""
    body = build_request(job(answer_schema=SCHEMA), [DATA_URL, ADDRESS]).body
    assert "Что изображено".encode() in body
    assert "объект".encode() in body
    assert b"\\u" not in body


@pytest.mark.parametrize("field", ["model", "max_output_tokens"])
def test_no_call_goes_without_model_and_limit(field: str) -> None:
    """A job that lacks either is refused by name, before any call."""
    with pytest.raises(InvalidJob, match=field):
        build_request(job(**{field: None}), [DATA_URL, ADDRESS])


def test_sources_and_pictures_must_match() -> None:
    """A picture without a source can't slip through."""
    with pytest.raises(ValueError, match="2 pictures, but 1 sources"):
        build_request(job(), [DATA_URL])


@pytest.mark.parametrize("value", [float("nan"), "\ud83d"])
def test_a_schema_that_is_not_json_is_refused(value: object) -> None:
    """A value that can't be written as JSON is an invalid job, not a crash."""
    with pytest.raises(InvalidJob, match="answer_schema"):
        build_request(job(answer_schema={"const": value}), [DATA_URL, ADDRESS])


def test_pictures_stay_out_of_the_representation() -> None:
    """A request in a traceback shows no prompt and no picture."""
    shown = repr(build_request(job(), [DATA_URL, ADDRESS]))
    assert "base64" not in shown
    assert "Что" not in shown


OWNED = [
    "model",
    "input",
    "messages",
    "text",
    "response_format",
    "stream",
    "max_tokens",
    "n",
    "store",
    "prediction",
]


@pytest.mark.parametrize("name", OWNED)
def test_fields_of_ours_are_refused_by_name(name: str) -> None:
    """A field that visionq sets can't be overridden; the message says where it is set."""
    with pytest.raises(InvalidJob, match=rf"extra_body: .*'{name}' can't be set here"):
        job(extra_body={name: 1})


@pytest.mark.parametrize("api", list(Api))
def test_what_is_the_same_goes_first(api: Api) -> None:
    """Prompt caches keep prefixes: form and instructions, then the prompt, then the pictures."""
    body = body_of(
        job(
            api=api,
            instructions="Be brief.",
            answer_schema=SCHEMA,
            temperature=0.5,
            service_tier="flex",
            extra_body={"top_p": 0.5, "metadata": {"ключ": "да"}},
        )
    )
    names = list(body)
    assert names[-1] in {"input", "messages"}, "what differs from job to job is last"
    assert (body["service_tier"], body["temperature"], body["top_p"]) == ("flex", 0.5, 0.5)
    assert body.get("max_output_tokens", body.get("max_completion_tokens")) == 300
    asked = body.get("input") or body["messages"]
    kinds = [part["type"].removeprefix("input_") for part in asked[-1]["content"]]
    assert [kind.removesuffix("_url") for kind in kinds] == ["text", "image", "image"]
    if api is Api.CHAT_COMPLETIONS:
        assert asked[0] == {"role": "system", "content": "Be brief."}
    else:
        assert names.index("instructions") < names.index("input")


@pytest.mark.parametrize("extra", [{}, {"reasoning": {"summary": "auto"}}])
def test_effort(extra: dict[str, Any]) -> None:
    """Each surface has its own word for it; what else is asked of reasoning is beside it."""
    asked = job(model="gpt-6-luna", effort="low", extra_body=extra)
    assert body_of(asked)["reasoning"] == {**extra.get("reasoning", {}), "effort": "low"}
    chat = body_of(asked.model_copy(update={"api": Api.CHAT_COMPLETIONS, "extra_body": {}}))
    assert chat["reasoning_effort"] == "low"
    assert "reasoning" not in chat
    assert {"reasoning", "reasoning_effort"}.isdisjoint(body_of(job()))


def test_crops_stand_in_the_place_of_their_picture() -> None:
    """All crops go in order, under the name of their picture; a text of its own tells of them."""
    crops = [f"{DATA_URL}{number}" for number in range(3)]
    for api in Api:
        request = build_request(job(api=api), [*crops, ADDRESS], parts=(3, 1))
        assert request.images == (*["https://example.com/a.jpg"] * 3, "b")
        body = json.loads(request.body)
        (said,) = body.get("input") or body["messages"]
        prompt, told, *pictures = said["content"]
        assert prompt["text"] == "Что изображено на картинке?"
        assert told["text"] == "Pictures 1 to 3 are overlapping crops of one picture, in order."
        sources = [part["image_url"] for part in pictures]
        urls = [one if isinstance(one, str) else one["url"] for one in sources]
        assert urls == [*crops, ADDRESS]
        assert request.text_bytes == len(request.body) - sum(map(len, urls))
    with pytest.raises(ValueError, match="4 pictures, but 2 sources"):
        build_request(job(), [DATA_URL, ADDRESS], parts=(3, 1))


def test_the_report_on_pictures_is_about_each_crop() -> None:
    """If the model is asked about the pictures, it reports on each one that it is shown."""
    sources = [DATA_URL, DATA_URL, ADDRESS]
    request = build_request(job(instructions="Be brief."), sources, ("text",), parts=(2, 1))
    body = json.loads(request.body)
    assert "a list of 3 objects" in body["instructions"]
    report = body["text"]["format"]["schema"]["properties"]["picture_report"]
    assert (report["minItems"], report["maxItems"]) == (3, 3)
