from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from producer.openai_requests.request_reader import read_request
from producer.prompts import Prompt, job_fields, prompt_for
from producer.sources import Row, open_source
from visionq.contract import parse_job
from visionq.errors import InvalidJob

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
RESPONSES: dict[str, Any] = {
    "model": "gpt-5.4-mini",
    "instructions": "Be brief.",
    "input": [
        {"role": "developer", "content": "In Russian."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": "https://a.example/1", "detail": "low"},
                {
                    "type": "input_image",
                    "image_url": "data:image/png;base64,AA==",
                    "detail": "low",
                },
            ],
        },
    ],
    "max_output_tokens": 50,
    "temperature": 0,
    "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}},
    "store": False,
}
CHAT: dict[str, Any] = {
    "model": "gpt-5.4-mini",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "In Russian."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "https://a.example/1", "detail": "low"}},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"},
                },
            ],
        },
    ],
    "max_completion_tokens": 50,
    "temperature": 0,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    "n": 1,
}


@pytest.mark.parametrize(
    ("address", "body"), [("/v1/responses", RESPONSES), ("/v1/chat/completions", CHAT)]
)
def test_a_request_of_either_surface_is_the_same_job(address: str, body: dict[str, Any]) -> None:
    """Texts, pictures, schema and limits become the fields of one job."""
    fields = read_request(address, body)
    strict = {"strict": True} if body is RESPONSES else {}
    assert fields == {
        "api": address.removeprefix("/v1/").replace("/", "_"),
        "prompt": "What is it?",
        "images": [{"url": "https://a.example/1"}, {"url": "data:image/png;base64,AA=="}],
        "instructions": "Be brief.\n\nIn Russian.",
        "detail": "low",
        "answer_schema": SCHEMA,
        "answer_format": {"type": "json_schema", "name": "x", **strict},
        "model": "gpt-5.4-mini",
        "max_output_tokens": 50,
        "temperature": 0,
    }
    parse_job(fields)


def replaced(**changes: Any) -> dict[str, Any]:
    return {**RESPONSES, **changes}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("text", "body: "),
        (replaced(input="only text"), "there is no picture"),
        (replaced(input=[RESPONSES["input"][0]]), "input: give one user message"),
        (replaced(stream=True), "stream: "),
        (replaced(text={"format": {"type": "grammar"}}), "text.format: 'grammar' is not supported"),
        (replaced(input=[{"role": "assistant", "content": "x"}]), "input.0.role: "),
        (
            replaced(
                input=[{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]
            ),
            "pictures by the id of a file are not supported: give image_url",
        ),
        (
            replaced(input=[{"role": "user", "content": [{"type": "input_audio"}]}]),
            "'input_audio'",
        ),
    ],
)
def test_what_a_job_has_no_word_for_is_refused(body: object, said: str) -> None:
    """Nothing that shapes the answer is dropped in silence: the field is named."""
    with pytest.raises(InvalidJob) as refused:
        read_request("/v1/responses", body)
    assert said in refused.value.message


def test_an_unknown_address_is_refused() -> None:
    """Embeddings are no question about a picture."""
    with pytest.raises(InvalidJob, match="/v1/embeddings"):
        read_request("/v1/embeddings", {})


def batch(folder: Path, *lines: object) -> str:
    path = folder / "batch.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return str(path)


def line(custom_id: str, **changes: Any) -> dict[str, Any]:
    request = {"method": "POST", "url": "/v1/responses", "body": RESPONSES}
    return {"custom_id": custom_id, **request, **changes}


def test_an_openai_batch_file_is_taken_unchanged(tmp_path: Path) -> None:
    """Its lines bring pictures, prompts and options; those that can't be asked are reported."""
    path = batch(
        tmp_path,
        line("a"),
        line("b", url="/v1/embeddings"),
        {"url": "/v1/responses", "body": {}},
        line("d", method="GET"),
        '{"custom_id": ',
        line("f", url="/v1/chat/completions", body=CHAT),
    )
    source = open_source(path)
    assert source.asks_itself
    rows = list(source.rows())
    assert [row.id for row in rows] == ["a", "b", "line 3", "d", "line 5", "f"]
    assert [isinstance(row, Row) for row in rows] == [True, False, False, False, False, True]
    first = rows[0]
    assert isinstance(first, Row)
    assert prompt_for(source, None) is None
    fields = job_fields(first, None, {"model": "gpt-5.6-luna", "tenant": "t"})
    assert (fields["model"], fields["prompt"], fields["tenant"]) == (
        "gpt-5.4-mini",
        "What is it?",
        "t",
    )


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Is it {name}?", "Is it чайник?"),
        ("{name} {Цена, ₽}", "чайник {Цена, ₽}"),
        ("{name}/{in stock}", "чайник/yes"),
        ("{{name}} is {name}", "{name} is чайник"),
        ('{"name": "…", "n": {}}', '{"name": "…", "n": {}}'),
        ("{\n}", "{\n}"),
        ("{1} {name:x}", "{1} {name:x}"),
    ],
)
def test_placeholders_are_filled_and_json_is_left_alone(prompt: str, expected: str) -> None:
    """Only a name in braces is a placeholder; doubled braces are the word itself."""
    assert Prompt(prompt).fill({"name": "чайник", "in stock": "yes"}) == expected


def test_a_value_with_braces_is_not_filled_again() -> None:
    """A row is data: a placeholder in it stays as it is."""
    assert Prompt("{a} {b}").fill({"a": "{b}", "b": "x"}) == "{b} x"
