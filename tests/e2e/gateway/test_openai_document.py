"""Each answer of the gateway to clients of OpenAI is valid by OpenAI's own OpenAPI document."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from jsonschema_rs import validator_for

from tests.support.gateway import asked, running_gateway, said
from tests.support.waiting import until

if TYPE_CHECKING:
    import httpx2
    from jsonschema_rs import Validator

    from tests.support.fleet import Fleet
    from tests.support.gateway import Gateway

pytestmark = pytest.mark.timeout(180)
MODEL: Final = "gpt-6-luna"
DOCUMENT: Final = json.loads(
    (Path(__file__).parents[2] / "contract/openai/answers.json").read_text("utf-8")
)
SCHEMA: Final = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
RESPONSES: Final = "/v1/responses"
CHAT: Final = "/v1/chat/completions"
ANSWER: Final = {RESPONSES: "Response", CHAT: "CreateChatCompletionResponse"}
PIECE: Final = {RESPONSES: "ResponseStreamEvent", CHAT: "CreateChatCompletionStreamResponse"}


@cache
def validator(name: str) -> Validator:
    return validator_for({"$ref": f"#/components/schemas/{name}", **DOCUMENT})


def checked(name: str, answer: Any) -> Any:
    """Return an answer that is valid by the schema of this name."""
    faults = [f"{one.instance_path}: {one.message}" for one in validator(name).iter_errors(answer)]
    assert not faults, (answer, faults)
    return answer


def request(path: str, number: int, **options: Any) -> dict[str, Any]:
    words = {"input": asked(number)} if path == RESPONSES else {"messages": said(number)}
    return {"model": MODEL, **words, **options}


def form_of(path: str) -> dict[str, Any]:
    form = {"name": "seen", "schema": SCHEMA, "strict": True}
    if path == RESPONSES:
        return {"text": {"format": {"type": "json_schema", **form}}}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def function_of(path: str) -> dict[str, Any]:
    function = {"name": "seen", "parameters": SCHEMA, "strict": True}
    if path == RESPONSES:
        tool = {"type": "function", **function}
        return {"tools": [tool], "tool_choice": {"type": "function", "name": "seen"}}
    return {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}


def streamed(http: httpx2.Client, method: str, path: str, **options: Any) -> list[Any]:
    """Return what the events of a stream say, all of them valid."""
    with http.stream(method, path, **options) as reply:
        assert reply.status_code == 200, reply.read()
        told = [line.removeprefix("data: ") for line in reply.iter_lines() if "data: " in line]
    kind = PIECE[CHAT if path == CHAT else RESPONSES]
    return [checked(kind, json.loads(text)) for text in told if text != "[DONE]"]


def test_the_document_refuses_what_is_wrong() -> None:
    """An answer without its status, or with a code that OpenAI does not have, is found out."""
    assert not validator("Response").is_valid({})
    assert not validator("ResponseStreamEvent").is_valid({"type": "response.output_text.done"})
    assert not validator("ResponseError").is_valid({"code": "not_an_image", "message": ""})


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_answers(path: str, http: httpx2.Client, fleet: Fleet) -> None:
    """Complete, typed, declined and cut answers and calls, in one piece and in events."""
    first = 10 if path == RESPONSES else 20
    effort = {"reasoning": {"effort": "low"}} if path == RESPONSES else {"reasoning_effort": "low"}
    options: list[dict[str, Any]] = [
        {"metadata": {"a": "b"}, "temperature": 0.5, "service_tier": "flex", "top_p": 0.5},
        form_of(path),
        function_of(path),
        {"model": MODEL, **effort},
    ]
    for number, more in enumerate(options, first):
        reply = http.post(path, json=request(path, number, **more))
        assert checked(ANSWER[path], reply.json())["visionq"]["state"] == "completed"
        assert streamed(http, "POST", path, json=request(path, number, **more, stream=True))
    for number, fault in enumerate(("refusal", "incomplete"), first + 6):
        fleet.simulator.configure(faults_next=[fault] * 2)
        reply = http.post(path, json=request(path, number))
        assert checked(ANSWER[path], reply.json())["visionq"]["state"] == "failed"
        assert streamed(http, "POST", path, json=request(path, number, stream=True))
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    if path == CHAT:
        assert streamed(http, "POST", path, json=request(path, first, **usage))[-1]["usage"]


def test_responses_in_every_state(http: httpx2.Client, fleet: Fleet) -> None:
    """Responses that wait, run, failed (unpaid and paid) or were cancelled; and their events."""
    fleet.simulator.configure(latency_s=2, faults={"wrong_form": 1})
    own = {"visionq": {"repair": False}, "background": True}
    broken = request(RESPONSES, 30, **own)
    broken["input"][0]["content"][1]["image_url"] = "data:image/png;base64,aGVsbG8="
    asking = {
        "cancelled": request(RESPONSES, 31, **own),
        "failed": broken,
        "invalid_output": request(RESPONSES, 32, **own, **form_of(RESPONSES)),
        "completed": request(RESPONSES, 33, **own),
    }
    ids = {}
    for kind, body in asking.items():
        ids[kind] = checked("Response", http.post(RESPONSES, json=body).json())["id"]
        if kind == "cancelled":
            cancelled = http.post(f"{RESPONSES}/{ids[kind]}/cancel").json()
            assert checked("Response", cancelled)["status"] == "cancelled"

    def now(kind: str) -> Any:
        return checked("Response", http.get(f"{RESPONSES}/{ids[kind]}").json())

    until(lambda: now("completed")["status"] != "queued", 30, "it to run")
    ends = {kind: streamed(http, "GET", f"{RESPONSES}/{ids[kind]}?stream=true")[-1] for kind in ids}
    assert {kind: end["type"] for kind, end in ends.items()} == {
        "cancelled": "error",
        "failed": "response.failed",
        "invalid_output": "response.failed",
        "completed": "response.completed",
    }
    assert (now("failed")["error"]["code"], "usage" in now("failed")) == ("invalid_image", False)
    assert now("failed")["visionq"]["reason"] == "not_an_image"
    assert now("invalid_output")["usage"]["total_tokens"] > 0


def test_errors(http: httpx2.Client, gateway: Gateway, fleet: Fleet, tmp_path: Path) -> None:
    """Refusals, missing, disallowed and late requests have one form, in one piece and as events."""
    fleet.simulator.configure(latency_s=5)
    with gateway.http("vq-wrong") as stranger:
        replies = [stranger.get("/v1/models")]
    replies += [http.get("/v1/responses/nobody"), http.get("/v1/no/such"), http.put(CHAT)]
    replies += [http.post(path, json={"model": MODEL, "nonsense": 1}) for path in ANSWER]
    extra = {"VISIONQ_GATEWAY_LONGEST_WAIT": "2.5"}
    with running_gateway(tmp_path, fleet.server.url, **extra) as short, short.http() as hasty:
        replies.append(hasty.post(CHAT, json=request(CHAT, 40)))
        late = request(RESPONSES, 41, stream=True)
        end = streamed(hasty, "POST", RESPONSES, json=late)[-1]
        assert (end["type"], end["code"]) == ("error", "wait_timeout")
        checked("Response", hasty.post(RESPONSES, json=request(RESPONSES, 42)).json())
    assert [reply.status_code for reply in replies] == [401, 404, 404, 405, 400, 400, 504]
    for reply in replies:
        checked("ErrorResponse", reply.json())


def test_models(http: httpx2.Client) -> None:
    """The list of models, and one of them."""
    checked("ListModelsResponse", http.get("/v1/models").json())
    checked("Model", http.get(f"/v1/models/{MODEL}").json())


def test_files_and_batches(http: httpx2.Client, fleet: Fleet) -> None:
    """Files and batches from their beginning to their end, and the answers in the files."""
    fleet.simulator.configure(faults_next=["refusal"])
    for path in ANSWER:
        bodies = [request(path, 50), {"model": MODEL}]
        lines = [
            json.dumps({"custom_id": str(n), "method": "POST", "url": path, "body": body})
            for n, body in enumerate(bodies)
        ]
        upload = {"file": ("a.jsonl", "\n".join(lines).encode())}
        reply = http.post("/v1/files", data={"purpose": "batch"}, files=upload)
        file = checked("OpenAIFile", reply.json())
        asking = {"input_file_id": file["id"], "endpoint": path, "completion_window": "1h"}
        batch = checked("Batch", http.post("/v1/batches", json=asking).json())
        url = f"/v1/batches/{batch['id']}"
        done = ended(http, url)
        for name, kind in (("output_file_id", ANSWER[path]), ("error_file_id", "ErrorResponse")):
            content = http.get(f"/v1/files/{done[name]}/content").text
            (row,) = [json.loads(line) for line in content.splitlines()]
            checked(kind, row["response"]["body"])
        stopped = checked("Batch", http.post("/v1/batches", json=asking).json())
        checked("Batch", http.post(f"/v1/batches/{stopped['id']}/cancel").json())
        assert ended(http, f"/v1/batches/{stopped['id']}")["status"] == "cancelled"
    checked("ListBatchesResponse", http.get("/v1/batches").json())
    checked("ListFilesResponse", http.get("/v1/files").json())
    checked("OpenAIFile", http.get(f"/v1/files/{file['id']}").json())
    checked("DeleteFileResponse", http.delete(f"/v1/files/{file['id']}").json())


def ended(http: httpx2.Client, url: str) -> Any:
    """Return a batch once it has ended; it is valid all the time."""

    def now() -> Any:
        return checked("Batch", http.get(url).json())

    until(lambda: now()["status"] in {"completed", "cancelled"}, 60, "the batch to end")
    return now()
