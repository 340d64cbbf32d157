"""Forms of answers in OpenAI's requests: text, JSON, JSON of a schema, a function's call."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion as TheirCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses import Response as TheirResponse
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from producer.gateway.job_service import JobRecord
from producer.gateway.openai.completion_objects import completion_of
from producer.gateway.openai.response_objects import response_of
from producer.openai_requests.chat import ChatRequest
from producer.openai_requests.request_reader import read_request
from producer.openai_requests.responses import ResponseRequest
from visionq.contract import ErrorDocument, JobView, ResultDocument, State, parse_job
from visionq.errors import InvalidJob

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
}
RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
URL = "https://example.org/a.jpg"
FUNCTION: dict[str, Any] = {"name": "Seen", "description": "What is seen.", "parameters": SCHEMA}


def body(path: str, **fields: Any) -> dict[str, Any]:
    """A question about a picture."""
    if path == RESPONSES:
        parts = [{"type": "input_text", "text": "?"}, {"type": "input_image", "image_url": URL}]
        return {"input": [{"role": "user", "content": parts}], **fields}
    image = {"type": "image_url", "image_url": {"url": URL}}
    content = [{"type": "text", "text": "?"}, image]
    return {"messages": [{"role": "user", "content": content}], **fields}


def tool(path: str, **changes: Any) -> dict[str, Any]:
    """A function as either API has it."""
    function = {**FUNCTION, **changes}
    if path == RESPONSES:
        return {"type": "function", **function}
    return {"type": "function", "function": function}


def named(path: str, name: str) -> dict[str, Any]:
    """The choice of a function as either API has it."""
    if path == RESPONSES:
        return {"type": "function", "name": name}
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_any_json(path: str) -> None:
    """`json_object` is a job whose answer has to be an object."""
    form = {"type": "json_object"}
    said: dict[str, Any] = (
        {"text": {"format": form}} if path == RESPONSES else {"response_format": form}
    )
    assert read_request(path, body(path, **said))["answer_schema"] == {"type": "object"}


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize("choice", [None, "auto", "required", "function"])
def test_a_function_is_a_schema(path: str, choice: str | None) -> None:
    """One function, however it is chosen, is the form of the answer, and is kept with the job."""
    chosen = named(path, "Seen") if choice == "function" else choice
    fields = read_request(path, body(path, tools=[tool(path)], tool_choice=chosen))
    job = parse_job(fields)
    assert job.answer_schema == {**SCHEMA, "description": "What is seen."}
    assert job.answer_format is not None
    assert (job.answer_format.type, job.answer_format.name) == ("function", "Seen")
    assert job.answer_format.tool_choice == (choice or "auto")


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_a_function_that_is_not_to_be_called(path: str) -> None:
    """With `none` the answer is text, and no tool is none at all."""
    cases: list[tuple[Any, Any]] = [([tool(path)], "none"), ([], None), (None, "auto")]
    for tools, choice in cases:
        asked = body(path, tools=tools, tool_choice=choice)
        assert "answer_schema" not in read_request(path, asked)


def test_a_function_without_parameters() -> None:
    """It is called with nothing."""
    fields = read_request(CHAT, body(CHAT, tools=[tool(CHAT, parameters=None)]))
    assert fields["answer_schema"]["properties"] == {}


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize(
    ("tools", "choice", "said"),
    [
        ([{"type": "web_search"}], None, "tools: web_search is not supported: no tool is run"),
        (["Seen", "Other"], None, "tools: several tools are not supported: no tool is run"),
        ([], "required", "tool_choice: required, but there is no such function"),
        (["Seen"], "Other", "tool_choice: Other, but there is no such function"),
        (["Seen"], {"type": "allowed_tools"}, "tool_choice: allowed_tools is not supported"),
        (["Seen"], "any", "tool_choice: any is not supported"),
        (["Seen"], {"type": "function"}, "tool_choice: give none, auto, required, or the function"),
        (["Seen"], ["auto"], "tool_choice: give none, auto, required, or the function"),
        (["no name"], None, r"tools\.0\..*name: must match"),
    ],
)
def test_tools_that_are_refused(path: str, tools: list[Any], choice: Any, said: str) -> None:
    """More than one function call is refused in words that say what to do."""
    listed = [tool(path, name=one) if isinstance(one, str) else one for one in tools]
    chosen = named(path, choice) if choice == "Other" else choice
    with pytest.raises(InvalidJob, match=f"^invalid_job: {said}"):
        read_request(path, body(path, tools=listed, tool_choice=chosen))


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_two_forms_at_once(path: str) -> None:
    """A function beside a schema would be two answers."""
    form = {"type": "json_object"}
    said: dict[str, Any] = (
        {"text": {"format": form}} if path == RESPONSES else {"response_format": form}
    )
    with pytest.raises(InvalidJob, match="tools: a function beside json_object"):
        read_request(path, body(path, tools=[tool(path)], **said))


def test_a_schema_that_is_none_is_named_by_its_place() -> None:
    """The client's own field is reported, not that of the job."""
    wrong = {"type": "objekt"}
    with pytest.raises(InvalidJob, match=r"^invalid_job: tools\.0\.function\.parameters: "):
        read_request(CHAT, body(CHAT, tools=[tool(CHAT, parameters=wrong)]))
    form = {"type": "json_schema", "name": "n", "schema": wrong}
    with pytest.raises(InvalidJob, match=r"^invalid_job: text\.format\.schema: "):
        read_request(RESPONSES, body(RESPONSES, text={"format": form}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "name", "function", "role", "content", "format"]), inner
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@given(data=st.data())
def test_any_value_is_taken_or_refused(path: str, data: st.DataObject) -> None:
    """With any value in a field, a tool or a message, the request is read or refused."""
    form = ResponseRequest if path == RESPONSES else ChatRequest
    field = data.draw(st.sampled_from(sorted(form.model_fields)))
    asked = body(path, **{field: data.draw(JSON | JSON.map(lambda value: [value]))})
    with suppress(InvalidJob):
        read_request(path, asked)


@pytest.mark.parametrize("turns", ["auto", "current_turn", "all_turns"])
def test_turns_of_reasoning(turns: str) -> None:
    """Some clients always say which turns the model is to think of again: a question has one."""
    asked = body(RESPONSES, reasoning={"context": turns})
    assert read_request(RESPONSES, asked) == read_request(RESPONSES, body(RESPONSES))


def nullable(hints: dict[str, Any]) -> set[str]:
    return {name for name, hint in hints.items() if type(None) in get_args(hint)}


@pytest.mark.parametrize(
    ("path", "form", "theirs"),
    [
        (RESPONSES, ResponseRequest, ResponseCreateParamsBase),
        (CHAT, ChatRequest, CompletionCreateParamsBase),
    ],
)
def test_null_is_nothing(path: str, form: Any, theirs: Any) -> None:
    """Each field that OpenAI's SDK lets be null may be null, and every field of it is known."""
    hints = {
        name: hint
        for name, hint in get_type_hints(theirs).items()
        if name not in {"model", "stream_options"}
    }
    assert nullable(hints) <= form.model_fields.keys()
    plain = read_request(path, body(path))
    assert read_request(path, body(path, **dict.fromkeys(nullable(hints)))) == plain


def standing(path: str, state: State, text: str | None = None, **fields: Any) -> JobRecord:
    """A job with a function that has ended."""
    job_id = "resp_1" if path == RESPONSES else "chatcmpl-1"
    document = parse_job(read_request(path, body(path, model="m", tools=[tool(path)], **fields)))
    error = None
    result = None
    if state is State.COMPLETED:
        data = {"colour": "red"}
        result = ResultDocument(id=job_id, model="m", api=document.api, text=text or "", data=data)
    else:
        error = ErrorDocument(code="incomplete", message="cut off", text=text)
    now = datetime.now(UTC)
    view = JobView(
        id=job_id, state=state, tenant="default", model="m", priority="interactive", images=1,
        submitted_at=now, finished_at=now, error=error,
    )  # fmt: skip
    return JobRecord(view, document, result)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("auto", "tool_calls"), ("required", "tool_calls"), (named(CHAT, "Seen"), "stop")],
)
def test_completion_with_a_call(choice: Any, reason: str) -> None:
    """The answer is the call, in plain JSON from any fence; OpenAI's SDK reads it."""
    told = completion_of(
        standing(CHAT, State.COMPLETED, '```json\n{"colour": "red"}\n```', tool_choice=choice)
    )
    theirs = TheirCompletion.model_validate(told.model_dump(mode="json"))
    (one,) = theirs.choices
    assert (one.finish_reason, one.message.content) == (reason, None)
    assert one.message.tool_calls is not None
    (call,) = one.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("Seen", '{"colour": "red"}')


@pytest.mark.parametrize(
    ("state", "status", "arguments"),
    [
        (State.COMPLETED, "completed", '{"colour": "red"}'),
        (State.FAILED, "incomplete", '{"colo'),
    ],
)
def test_response_with_a_call(state: State, status: str, arguments: str) -> None:
    """The answer is an item of its own, also where it was cut off, and the tool is sent again."""
    told = response_of(standing(RESPONSES, state, arguments, tool_choice=named(RESPONSES, "Seen")))
    theirs = TheirResponse.model_validate(told.model_dump(mode="json"))
    (item,) = theirs.output
    assert item.type == "function_call"
    assert (item.name, item.arguments, item.status) == ("Seen", arguments, status)
    assert theirs.tools[0].model_dump()["name"] == "Seen"
    assert theirs.tool_choice.model_dump() == named(RESPONSES, "Seen")  # type: ignore[union-attr]  # it is no word


def test_completion_with_a_cut_call() -> None:
    """A call that was cut off ends by `length`."""
    (choice,) = completion_of(standing(CHAT, State.FAILED, '{"colo')).choices
    assert choice.finish_reason == "length"
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].function.arguments == '{"colo'
