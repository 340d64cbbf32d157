"""Questions about the pictures themselves, in the call that is paid for anyway."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from jsonschema import Draft202012Validator

from visionq.answer_schemas import check_schema
from visionq.contract import Api, JobDocument, PictureOptions, Policy, parse_job
from visionq.contract import Picture as PictureFacts
from visionq.errors import Incomplete, PictureRejected, Refused
from worker.pipeline.context import JobPicture
from worker.pipeline.picture_steps import take_findings
from worker.provider.answer import ProviderAnswer, read_answer
from worker.provider.picture_checks import wrapped_schema
from worker.provider.reply import Reply
from worker.provider.request import ProviderRequest, build_request
from worker.provider.schema import parse_answer
from worker.provider.strict import strict_form

if TYPE_CHECKING:
    from worker.pipeline.context import Attempt

ASKED = ("text", "logo")
SOURCES = ["data:image/jpeg;base64,/9j/", "https://example.com/b.png"]
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
TREE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"$ref": "#/$defs/name"},
        "children": {"type": "array", "items": {"$ref": "#"}},
        "same": {"$ref": "#/properties/name"},
    },
    "required": ["name", "children", "same"],
    "additionalProperties": False,
    "$defs": {"name": {"type": "string"}},
}
REPORT = [{"text": True, "logo": False}, {"text": False, "logo": False}]

both = pytest.mark.parametrize("api", list(Api))


def job(**fields: Any) -> JobDocument:
    images = [{"url": "https://example.com/a.png"}, {"url": "https://example.com/b.png"}]
    document = {
        "prompt": "Что здесь?",
        "images": images,
        "model": "gpt-5.4-mini",
        "max_output_tokens": 16,
    }
    return parse_job({**document, **fields})


def request(**fields: Any) -> ProviderRequest:
    return build_request(job(**fields), SOURCES, ASKED)


def read(said: str, asked: ProviderRequest, *, cut: bool = False) -> ProviderAnswer:
    if asked.api is Api.RESPONSES:
        status = {"status": "incomplete" if cut else "completed"}
        content = [{"type": "output_text", "text": said}]
        body: dict[str, Any] = {**status, "output": [{"content": content}]}
        body["usage"] = {"input_tokens": 9, "output_tokens": 9}
    else:
        finish = "length" if cut else "stop"
        body = {"choices": [{"finish_reason": finish, "message": {"content": said}}]}
        body["usage"] = {"prompt_tokens": 9, "completion_tokens": 9}
    return read_answer(Reply(200, {}, json.dumps(body).encode()), asked, now=0)


def wrapped(answer: object, report: object = None) -> str:
    return json.dumps({"answer": answer, "picture_report": REPORT if report is None else report})


def schema_of(asked: ProviderRequest) -> dict[str, Any]:
    body = json.loads(asked.body)
    form = body["text"]["format"] if "text" in body else body["response_format"]["json_schema"]
    assert form["strict"]
    found: dict[str, Any] = form["schema"]
    return found


@both
def test_the_call_asks_for_both(api: Api) -> None:
    """One call asks for the answer and the report, with room for both, in either API."""
    asked = request(api=api, instructions="Кратко.")
    body = json.loads(asked.body)
    assert schema_of(asked)["required"] == ["answer", "picture_report"]
    told = body.get("instructions") or body["messages"][0]["content"]
    assert told.startswith("Кратко.\n\n")
    assert "`text`: readable text" in told
    assert "watermark" not in told
    assert (body.get("max_output_tokens") or body["max_completion_tokens"]) >= 16 + 60


@both
def test_without_policies_the_call_is_as_it_was(api: Api) -> None:
    """If nothing is asked about the pictures the call does not change by a byte."""
    plain = build_request(job(api=api), SOURCES)
    assert build_request(job(api=api), SOURCES, ()).body == plain.body
    assert b"picture_report" not in plain.body


@both
def test_a_text_comes_out_as_if_nothing_else_was_asked(api: Api) -> None:
    """The user's text is the answer alone; the findings are beside it."""
    answer = read(wrapped("Рыжий кот."), request(api=api))
    assert (answer.text, answer.data) == ("Рыжий кот.", None)
    assert answer.findings == (frozenset({"text"}), frozenset())


@both
def test_the_schema_of_the_job_still_holds(api: Api) -> None:
    """`data` and `text` are those of the job's own schema, and it is what they are held against."""
    asked = request(api=api, answer_schema=SCHEMA)
    answer = read(wrapped({"n": 4}), asked)
    assert (answer.data, json.loads(answer.text)) == ({"n": 4}, {"n": 4})
    assert answer.findings == (frozenset({"text"}), frozenset())
    wrong = read(wrapped({"n": "four"}), asked)
    assert wrong.validation_error is not None
    assert wrong.usage is not None


@both
@pytest.mark.parametrize("said", ["Рыжий кот.", '{"cat": 1}', '["a"]', '{"answer": 7}'])
def test_a_model_that_does_not_comply_disturbs_nothing(api: Api, said: str) -> None:
    """An answer without the wrapping is the answer; there is only no report."""
    answer = read(said, request(api=api))
    assert (answer.text, answer.findings) == (said, None)


def test_the_own_form_without_wrapping() -> None:
    """A model that answers in the job's form alone has answered."""
    answer = read('{"n": 4}', request(answer_schema=SCHEMA))
    assert (answer.data, answer.findings) == ({"n": 4}, None)


@pytest.mark.parametrize(
    "report", ["no", [], REPORT[:1], [*REPORT, REPORT[0]], [{"text": True}, {"logo": True}]]
)
def test_a_report_that_does_not_fit_is_none(report: object) -> None:
    """A report on other pictures, or on other things, is not guessed at."""
    answer = read(wrapped("Кот.", report), request())
    assert (answer.text, answer.findings) == ("Кот.", None)


@both
def test_ends_are_as_ever(api: Api) -> None:
    """A cut answer is still incomplete, and a refusal a refusal."""
    with pytest.raises(Incomplete):
        read('{"answer": "Ры', request(api=api), cut=True)
    refused = request(api=Api.CHAT_COMPLETIONS)
    body = {"choices": [{"finish_reason": "stop", "message": {"content": "x", "refusal": "no"}}]}
    with pytest.raises(Refused):
        read_answer(Reply(200, {}, json.dumps(body).encode()), refused, now=0)


def test_references_still_lead_where_they_did() -> None:
    """A recursive schema with definitions means the same inside the wrapping, and stays strict."""
    schema = wrapped_schema(ASKED, 2, TREE)
    check_schema(schema)
    assert strict_form(schema) is not None
    leaf = {"name": "b", "children": [], "same": "b"}
    whole = wrapped({"name": "a", "children": [leaf], "same": "a"})
    assert parse_answer(whole, schema)["answer"]["children"] == [leaf]
    for wrong in ({**leaf, "name": 1}, {**leaf, "same": 1}, {**leaf, "children": [{"name": "c"}]}):
        with pytest.raises(ValueError, match=r"\$\.answer"):
            parse_answer(wrapped({"name": "a", "children": [wrong], "same": "a"}), schema)


def test_a_schema_with_its_own_address() -> None:
    """A schema that names itself keeps its references to itself."""
    own = {**TREE, "$id": "https://example.com/tree"}
    schema = wrapped_schema(ASKED, 2, own)
    leaf = {"name": "b", "children": [], "same": "b"}
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"answer": leaf, "picture_report": REPORT})
    assert not validator.is_valid({"answer": {**leaf, "name": 1}, "picture_report": REPORT})


def test_findings_in_crops_are_those_of_their_picture() -> None:
    """A finding in any crop is reported for its picture, once."""
    crop = PictureFacts(format="webp", width=1, height=1, bytes=1)
    pictures = [
        JobPicture("a", crops=(crop,) * 3),
        JobPicture("b"),
        JobPicture("c", crops=(crop,) * 2),
    ]
    found = [set(), {"text"}, {"text"}, set(), {"logo"}, set()]
    answer = ProviderAnswer("", findings=tuple(map(frozenset, found)))
    asked = PictureOptions(crops=True, text=Policy.WARN, logo=Policy.REJECT)
    attempt = cast("Attempt", SimpleNamespace(pictures=pictures, job=job(pictures=asked)))
    with pytest.raises(PictureRejected, match="the model sees logo") as caught:
        take_findings(attempt, answer, ("text", "logo"))
    assert caught.value.image == "c"
    assert [picture.warnings for picture in pictures] == [("the model sees text",), (), ()]
