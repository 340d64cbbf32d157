"""From messages of OpenAI's APIs to the one question that a job is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from producer.gateway.access import Scope, scope_for
from producer.gateway.job_routes import job_schemas
from producer.openai_requests.chat import ChatRequest
from producer.openai_requests.parts import Common, Extras, Image, ParsedMessage, Text, question_in
from producer.openai_requests.request_reader import fields_of, in_their_words, read_request
from producer.openai_requests.responses import ResponseRequest
from producer.openai_requests.unsupported import complaint
from visionq.contract import Api, JobDocument, parse_job
from visionq.errors import InvalidJob

WORDS = st.text(min_size=1).filter(str.strip)
PICTURES = st.lists(st.builds(Image, WORDS, st.just("low")), min_size=1, max_size=5)
TEXTS = st.lists(st.builds(Text, WORDS), min_size=1, max_size=5)


@given(TEXTS, PICTURES, st.booleans(), st.lists(WORDS, max_size=3), st.none() | WORDS)
def test_nothing_is_lost(
    texts: list[Text], images: list[Image], first: bool, rules: list[str], given: str | None
) -> None:
    """Every text, picture and instruction of a question is in the job, each in its order."""
    parts: tuple[Text | Image, ...] = (*texts, *images) if first else (*images, *texts)
    system = [ParsedMessage("system", (Text(rule),)) for rule in rules]
    fields = question_in([*system, ParsedMessage("user", parts)], "input", given)
    assert fields["prompt"] == "\n\n".join(text.text for text in texts)
    assert fields["images"] == [{"url": image.url} for image in images]
    assert fields["detail"] == "low"
    assert "detail" not in question_in(
        [ParsedMessage("user", (Text("?"), Image("u", None)))], "input"
    )
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
        ([("user", "aiai")], "input.0.content"),
        ([("user", "iai")], "input.0.content"),
        ([("system", "i"), ("user", "ai")], "input.0.content"),
        ([("user", "aiI")], "input.0.content"),
    ],
)
def test_what_is_more_than_a_question_is_refused(said: list[tuple[str, str]], field: str) -> None:
    """A conversation that one text and some pictures can't hold is refused by its place."""
    kinds: dict[str, Any] = {"a": Text("?"), "i": Image("u", "low"), "I": Image("u", "high")}
    messages = [ParsedMessage(role, tuple(kinds[kind] for kind in parts)) for role, parts in said]
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
    first, second = fields_of(response), fields_of(chat)
    assert first.pop("api") != second.pop("api")
    assert first == second
    assert first["answer_schema"] == schema
    assert first["reuse"] == "off"


#: Field of a job → what says it to OpenAI's two APIs, and what the job then has.
OPENAI_SAYS: dict[str, tuple[dict[str, Any], dict[str, Any], Any]] = {
    "model": ({"model": "m"}, {"model": "m"}, "m"),
    "instructions": ({"instructions": "i"}, {}, "i"),
    "answer_schema": (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}},
            }
        },
        {"type": "object"},
    ),
    "max_output_tokens": ({"max_output_tokens": 99}, {"max_completion_tokens": 99}, 99),
    "temperature": ({"temperature": 0.25}, {"temperature": 0.25}, 0.25),
    "service_tier": ({"service_tier": "flex"}, {"service_tier": "flex"}, "flex"),
    "metadata": ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}, {"a": "b"}),
    "prompt_cache": (
        {"prompt_cache_options": {"mode": "explicit"}},
        {"prompt_cache_options": {"mode": "explicit"}},
        "off",
    ),
    "prompt_cache_ttl": (
        {"prompt_cache_options": {"ttl": "30m"}},
        {"prompt_cache_options": {"ttl": "30m"}},
        "30m",
    ),
    "effort": ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}, "low"),
}
#: Field of a job → a value of it that is not its default, said as `visionq`.
OUR_OWN: dict[str, Any] = {
    "pictures": {"convert": True},
    "priority": "bulk",
    "reuse": "off",
    "near": 4,
    "fallback": ("gpt-5-mini",),
    "cascade": {"models": ("gpt-6.1-terra",), "sure_at": 0.8, "sureness": "agreement"},
    "on_unknown_billing": "hold",
    "url_mode": "pass",
    "deadline": "2030-01-01T00:00:00Z",
    "by": "2030-01-01T00:00:00Z",
    "lane": "batch",
    "repair": False,
    "together": True,
    "extra_body": {"seed_of_theirs": 1},
}
#: Message by the messages themselves.
IN_MESSAGES = {"prompt", "images", "detail"}
#: Not the client's to say in the body.
NOT_THEIRS = {
    *("api", "tenant", "batch_id", "replay_of", "schema_version", "idempotency_key"),
    "answer_format",
}


def bodies(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The same question for either API, with further fields."""
    url = "https://example.org/a.jpg"
    response = [
        {"type": "input_text", "text": "?"},
        {"type": "input_image", "image_url": url},
    ]
    chat = [
        {"type": "text", "text": "?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    rules = [{"role": "system", "content": "i"}] if "instructions" in first else []
    return [
        ("/v1/responses", {"input": [{"role": "user", "content": response}], **first}),
        (
            "/v1/chat/completions",
            {"messages": [*rules, {"role": "user", "content": chat}], **second},
        ),
    ]


def test_every_option_of_a_job_is_thought_of() -> None:
    """A new field of the contract is refused nowhere by accident: it has its place here."""
    assert {*OPENAI_SAYS, *OUR_OWN, *IN_MESSAGES, *NOT_THEIRS} == set(JobDocument.model_fields)
    assert set(OUR_OWN) == set(Extras.model_fields)
    schema, _ = job_schemas()
    assert set(schema["properties"]) == set(JobDocument.model_fields) - NOT_THEIRS | {"api"}


@pytest.mark.parametrize(
    ("request_class", "theirs"),
    [
        (ResponseRequest, ResponseCreateParamsBase.__annotations__),
        (ChatRequest, CompletionCreateParamsBase.__annotations__),
    ],
)
def test_fields_are_openais(request_class: type[Common], theirs: dict[str, Any]) -> None:
    """An option beside `visionq` has the name that OpenAI's own SDK has for it."""
    assert {*request_class.model_fields} <= {*theirs, "stream", "visionq"}
    assert {*request_class.passed_on} <= {*request_class.model_fields}


@pytest.mark.parametrize("field", OPENAI_SAYS)
def test_options_have_openais_own_fields(field: str) -> None:
    """An option of a job that OpenAI knows has its name there, in both APIs."""
    first, second, wanted = OPENAI_SAYS[field]
    for path, body in bodies(first, second):
        job = parse_job(read_request(path, body))
        assert getattr(job, field) == wanted, path


@pytest.mark.parametrize("field", OUR_OWN)
def test_options_that_are_our_own(field: str) -> None:
    """An option unknown to OpenAI is under `visionq`, by the name that native jobs use."""
    told = {"visionq": {field: OUR_OWN[field]}}
    for path, body in bodies(told, told):
        fields = read_request(path, body)
        native = parse_job({"prompt": "?", "images": fields["images"], field: OUR_OWN[field]})
        assert getattr(parse_job(fields), field) == getattr(native, field), path
        assert getattr(native, field) != JobDocument.model_fields[field].get_default(
            call_default_factory=True
        )


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/v1/responses", {"top_p": 0.5, "user": "u"}),
        (
            "/v1/chat/completions",
            {"seed": 7, "stop": ["."], "verbosity": "low", "top_p": 1.0},
        ),
    ],
)
def test_fields_that_shape_the_call_are_passed_on(path: str, given: dict[str, Any]) -> None:
    """OpenAI's fields that shape a call and are no option of a job reach the provider unchanged."""
    own = {"visionq": {"extra_body": {"theirs": True}}}
    body = dict(bodies(given | own, given | own))[path]
    assert parse_job(read_request(path, body)).extra_body == {**given, "theirs": True}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools: web_search is not supported: no tool is run"),
        ({"top_logprobs": 2}, "top_logprobs: log probabilities are not supported"),
        ({"nonsense": 1}, "nonsense: not supported here"),
        ({"service_tier": "No Tier"}, "service_tier: "),
        ({"visionq": {"nonsense": 1}}, "visionq.nonsense: not supported here"),
        ({"visionq": {"deadline": 0}}, "visionq.deadline: give a time with its zone"),
        ({"visionq": {"extra_body": {"top_p": 1}}}, "visionq.extra_body: give top_p as a field"),
    ],
)
def test_what_is_not_supported_is_named(given: dict[str, Any], said: str) -> None:
    """A field that nothing here can honour is refused by its name, in both APIs."""
    for path, body in bodies(given, given):
        with pytest.raises(InvalidJob, match=f"^invalid_job: {said}"):
            read_request(path, body)


def test_a_body_that_is_no_json() -> None:
    """It is reported as such, wherever it breaks."""
    broken = {"type": "json_invalid", "loc": ("body", 1), "msg": "", "ctx": {"error": "odd"}}
    assert complaint([broken]) == ("body", "body: not JSON: odd")


def test_what_the_contract_forbids_stays_forbidden() -> None:
    """No word of a request takes a field of the call that a job decides by itself."""
    told: dict[str, Any] = {"visionq": {"extra_body": {"modalities": []}}}
    for path, body in bodies(told, told):
        with pytest.raises(InvalidJob, match=r"^invalid_job: extra_body: .*modalities"):
            parse_job(read_request(path, body))


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


MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}


def marked_bodies(*places: int, **fields: Any) -> list[tuple[str, dict[str, Any]]]:
    """The same question for either API, with breakpoints behind the texts at these places."""
    found = []
    for path, kind, picture, name in (
        ("/v1/responses", "input_text", {"type": "input_image", "image_url": "u"}, "input"),
        (
            "/v1/chat/completions",
            "text",
            {"type": "image_url", "image_url": {"url": "u"}},
            "messages",
        ),
    ):
        texts: list[dict[str, Any]] = [
            {"type": kind, "text": text} | (MARK if place in places else {})
            for place, text in enumerate(["a", "b", "?"])
        ]
        messages = [
            {"role": "developer", "content": texts[:2]},
            {"role": "user", "content": [texts[2], picture]},
        ]
        found.append((path, {name: messages, **fields}))
    return found


@pytest.mark.parametrize(
    ("options", "ttl"),
    [(None, None), ({"mode": "explicit"}, None), ({"mode": "explicit", "ttl": "12h"}, "12h")],
)
def test_a_breakpoint_after_the_instructions(
    options: dict[str, str] | None, ttl: str | None
) -> None:
    """It keeps the instructions, as the job's own word for it does."""
    given = {} if options is None else {"prompt_cache_options": options}
    for path, body in marked_bodies(1, **given):
        job = parse_job(read_request(path, body))
        assert (job.prompt_cache, job.prompt_cache_ttl) == ("instructions", ttl)
        assert job.instructions == "a\n\nb"
        assert job.extra_body == {}


@pytest.mark.parametrize(
    ("places", "options", "said"),
    [
        ((0,), {}, r"\.0\.content\.0\.prompt_cache_breakpoint: supported at the end of the instr"),
        ((2,), {}, r"\.1\.content\.0\.prompt_cache_breakpoint: supported at the end of the instr"),
        (
            (0, 1),
            {},
            r"\.0\.content\.0\.prompt_cache_breakpoint: supported at the end of the instr",
        ),
        ((1,), {"mode": "implicit"}, "prompt_cache_options.mode: a breakpoint beside"),
        ((), {"mode": "all"}, "prompt_cache_options.mode: "),
        ((), {"prewarm": True}, "prompt_cache_options.prewarm: not supported here"),
    ],
)
def test_breakpoints_that_a_job_has_no_word_for(
    places: tuple[int, ...], options: dict[str, Any], said: str
) -> None:
    """They are refused by their place, before anything is paid."""
    given = {"prompt_cache_options": options} if options else {}
    for path, body in marked_bodies(*places, **given):
        with pytest.raises(InvalidJob, match=said):
            read_request(path, body)


@pytest.mark.parametrize(
    ("said", "api", "wanted"),
    [
        ("effort: no", Api.RESPONSES, "reasoning.effort: no"),
        ("effort: no", Api.CHAT_COMPLETIONS, "reasoning_effort: no"),
        ("prompt_cache: no", Api.RESPONSES, "prompt_cache_options.mode: no"),
        ("temperature: no: never", Api.RESPONSES, "temperature: no: never"),
        ("effort", Api.RESPONSES, "effort"),
    ],
)
def test_faults_are_told_in_their_words(said: str, api: Api, wanted: str) -> None:
    """A field that a request calls otherwise than a job is named as the request does."""
    assert in_their_words(InvalidJob(said), api).message == wanted
