"""Every form of call that ProxyAPI's computer-vision page shows, over real HTTP."""

from __future__ import annotations

import functools
import http.server
import json
import sys
import threading
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.pictures import data_url
from visionq.devstack.sample_pictures import write_sample_pictures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from openai import OpenAI

    from visionq.devstack.simulator import RunningSimulator

QUESTION = "Что изображено на картинке?"
MODEL = "gpt-6-luna"
#: Tokens of a 720x480 picture on that model: 16 by 11 patches of its 512x341 pixels at `low`, 23 by
#: 15 of all of them, times 1.2.
LOW, HIGH = 212, 414


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_sample_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def picture_url(pictures: dict[str, Path]) -> Iterator[str]:
    """Address of `sunset.jpg` on a web server of this machine."""
    folder = pictures["sunset.jpg"].parent
    handler = functools.partial(QuietFiles, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/sunset.jpg"
        server.shutdown()


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def post(simulator: RunningSimulator, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a request as `curl` would."""
    address = urlsplit(simulator.provider_url + path)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=20)
    try:
        headers = {"Authorization": "Bearer sk-any", "Content-Type": "application/json"}
        connection.request("POST", address.path, json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    assert response.status == 200, text
    answer: dict[str, Any] = json.loads(text)
    return answer


def asked(question: str, *pictures: str, detail: str = "auto") -> list[Any]:
    """Return the input of one question about pictures, as Responses takes it."""
    parts = [{"type": "input_image", "detail": detail, "image_url": url} for url in pictures]
    return [{"role": "user", "content": [{"type": "input_text", "text": question}, *parts]}]


def test_url_in_responses_by_plain_http(simulator: RunningSimulator, picture_url: str) -> None:
    """Row 1: a picture by its address in Responses is fetched and described, in Russian."""
    body = {"model": MODEL, "input": asked(QUESTION, picture_url)}
    answer = post(simulator, "/responses", body)
    assert answer["status"] == "completed"
    text = answer["output"][-1]["content"][0]["text"]
    assert text.startswith("Картинка 1: 720x480, основной цвет #")


@pytest.mark.parametrize("bare", [True, False], ids=["bare-string", "object"])
def test_url_in_chat_by_plain_http(
    simulator: RunningSimulator, picture_url: str, bare: bool
) -> None:
    """Row 2: Chat Completions takes the address as the page's bare string and as an object."""
    image_url = picture_url if bare else {"url": picture_url}
    content = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": image_url}]
    answer = post(
        simulator,
        "/chat/completions",
        {"model": MODEL, "messages": [{"role": "user", "content": content}]},
    )
    assert "720x480" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] > HIGH


@pytest.mark.parametrize(
    ("name", "media_type", "size"),
    [
        ("sunset.jpg", "image/jpeg", "720x480"),
        ("table.png", "image/png", "640x480"),
        ("sailing.webp", "image/webp", "640x400"),
        ("balloon.gif", "image/gif", "320x400"),
    ],
)
def test_base64_in_responses_by_sdk(
    client: OpenAI, pictures: dict[str, Path], name: str, media_type: str, size: str
) -> None:
    """Row 3: a local file of each format goes through `responses.create`."""
    question = asked("What is this?", data_url(pictures[name].read_bytes(), media_type))
    response = client.responses.create(model=MODEL, input=question)
    assert f"{size}, mostly #" in response.output_text
    assert response._request_id is not None
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_base64_in_chat_by_sdk(client: OpenAI, pictures: dict[str, Path]) -> None:
    """Row 4: the same data URL goes through `chat.completions.create`."""
    completion = client.chat.completions.create(
        model=MODEL,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": QUESTION},
                    {
                        "type": "image_url",
                        "image_url": {
                            "url": data_url(pictures["sunset.jpg"].read_bytes(), "image/jpeg")
                        },
                    },
                ],
            }
        ],
    )
    assert "720x480" in (completion.choices[0].message.content or "")


@pytest.mark.parametrize(("detail", "tokens"), [("low", LOW), ("high", HIGH), ("auto", HIGH)])
@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_detail(
    simulator: RunningSimulator, pictures: dict[str, Path], api: str, detail: str, tokens: int
) -> None:
    """Row 5: `low`, `high` and `auto` are taken where each API wants them, and counted."""
    url = data_url(pictures["sunset.jpg"].read_bytes(), "image/jpeg")
    if api == "responses":
        part: dict[str, Any] = {"type": "input_image", "image_url": url, "detail": detail}
        answer = post(
            simulator,
            "/responses",
            {"model": MODEL, "input": [{"role": "user", "content": [part]}]},
        )
        assert answer["usage"]["input_tokens"] == tokens + 7
        return
    part = {"type": "image_url", "image_url": {"url": url, "detail": detail}}
    answer = post(
        simulator,
        "/chat/completions",
        {"model": MODEL, "messages": [{"role": "user", "content": [part]}]},
    )
    assert answer["usage"]["prompt_tokens"] == tokens + 7


def test_two_pictures_in_one_question(client: OpenAI, pictures: dict[str, Path]) -> None:
    """Row 6: two pictures and one question give one answer that tells of both, in order."""
    urls = (
        data_url(pictures["sunset.jpg"].read_bytes(), "image/jpeg"),
        data_url(pictures["table.png"].read_bytes()),
    )
    question = asked("Есть ли отличия между изображениями?", *urls, detail="low")
    response = client.responses.create(model=MODEL, input=question)
    first, second = response.output_text.split(" Картинка 2")
    assert "720x480" in first
    assert "640x480" in second


PROGRAM = """
import base64
import sys
from openai import OpenAI

client = OpenAI(api_key="sk-any", base_url=sys.argv[1], max_retries=0)
where = sys.argv[2]

def encode_image(image_path):
    with open(image_path, "rb") as image_file:
        return base64.b64encode(image_file.read()).decode("utf-8")

"""
RESPONSES = """
response = client.responses.create(
    model="gpt-6-luna",
    input=[{
        "role": "user",
        "content": [{"type": "input_text", "text": "Что изображено на картинке?"}, PARTS],
    }],
)
print(response.output_text)
"""
CHAT = """
response = client.chat.completions.create(
    model="gpt-6-luna",
    messages=[{
        "role": "user",
        "content": [{"type": "text", "text": "Что изображено на картинке?"}, PARTS],
    }],
)
print(response.choices[0].message.content)
"""
BY_URL = '{"type": "input_image", "image_url": where}'
DATA = 'f"data:image/jpeg;base64,{encode_image(where)}"'


@pytest.mark.parametrize(
    ("program", "parts", "pictures_seen"),
    [
        (RESPONSES, BY_URL, 1),
        (CHAT, '{"type": "image_url", "image_url": where}', 1),
        (RESPONSES, f'{{"type": "input_image", "image_url": {DATA}, "detail": "low"}}', 1),
        (CHAT, f'{{"type": "image_url", "image_url": {{"url": {DATA}}}}}', 1),
        (RESPONSES, f"{BY_URL}, {BY_URL}", 2),
    ],
    ids=["responses-url", "chat-bare-url", "responses-base64", "chat-base64", "two-pictures"],
)
def test_programs_of_the_page(  # noqa: PLR0917  # pytest passes them by name
    simulator: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pictures: dict[str, Path],
    picture_url: str,
    program: str,
    parts: str,
    pictures_seen: int,
) -> None:
    """A program as the page shows it, with another base URL, key and picture, prints its answer."""
    where = str(pictures["sunset.jpg"]) if DATA in parts else picture_url
    monkeypatch.setattr(sys, "argv", ["program", simulator.provider_url, where])
    names: dict[str, Any] = {}
    exec(PROGRAM + program.replace("PARTS", parts), names)  # noqa: S102  # our own text
    names["client"].close()
    assert capsys.readouterr().out.count("720x480, основной цвет #") == pictures_seen


def test_models_are_listed(client: OpenAI) -> None:
    """The list of models has the page's model, and one of them can be looked up."""
    assert MODEL in {model.id for model in client.models.list()}
    assert client.models.retrieve(MODEL).id == MODEL


SCHEMA = {
    "type": "object",
    "properties": {
        "description": {"type": "string"},
        "mood": {"enum": ["calm", "lively"]},
        "objects": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "count": {"type": "integer", "minimum": 1},
                },
                "required": ["name", "count"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["description", "mood", "objects"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_json_schema(simulator: RunningSimulator, pictures: dict[str, Path], api: str) -> None:
    """Asked for a JSON Schema, both APIs answer with JSON of that form, made from the picture."""
    named = {"name": "picture", "schema": SCHEMA, "strict": True}
    url = data_url(pictures["sunset.jpg"].read_bytes(), "image/jpeg")
    if api == "responses":
        part: dict[str, Any] = {"type": "input_image", "image_url": url}
        body: dict[str, Any] = {
            "model": MODEL,
            "input": [{"role": "user", "content": [part]}],
            "text": {"format": {"type": "json_schema", **named}},
        }
        text = post(simulator, "/responses", body)["output"][-1]["content"][0]["text"]
    else:
        part = {"type": "image_url", "image_url": {"url": url}}
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": [part]}],
            "response_format": {"type": "json_schema", "json_schema": named},
        }
        text = post(simulator, "/chat/completions", body)["choices"][0]["message"]["content"]
    data = json.loads(text)
    assert data["description"].startswith("720x480 #")
    assert data["mood"] == "calm"
    assert [item["count"] for item in data["objects"]] == [1, 2]
