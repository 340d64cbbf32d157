"""The native API, by curl and by an ordinary HTTP client."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from producer.gateway.access import Scope
from tests.support.gateway import KEY, Gateway, asked, said
from tests.support.pictures import data_url, picture
from visionq.blobs import sha256_of
from visionq.ledger.views import job_document

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from tests.support.fleet import Fleet


def job(number: int, **fields: Any) -> dict[str, Any]:
    return {"prompt": "What is it?", "images": [{"url": data_url(number)}], **fields}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(gateway: Gateway, tmp_path: Path) -> None:
    """A picture is uploaded and its answer awaited by one line of curl."""
    (tmp_path / "photo.png").write_bytes(picture(1))
    done = subprocess.run(  # found on this machine
        [
            *("curl", "-sS", f"{gateway.url}/v1/jobs", "-H", f"Authorization: Bearer {KEY}"),
            *("-H", "Prefer: wait=30", "-F", "prompt=Что на картинке?", "-F", "detail=low"),
            *("-F", 'metadata={"order": "17"}', "-F", f"image=@{tmp_path}/photo.png"),
        ],
        capture_output=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["state"] == "completed"
    assert "64x48" in told["result"]["text"]
    assert told["result"]["images"][0]["name"] == "photo.png"
    assert told["result"]["metadata"] == {"order": "17"}


def test_submission_and_urls(http: httpx2.Client, fleet: Fleet) -> None:
    """A job is accepted with 202 and the addresses where its state and answer are found."""
    fleet.simulator.configure(latency_s=1)
    accepted = http.post("/v1/jobs", json=job(2))
    assert accepted.status_code == 202
    told = accepted.json()
    assert accepted.headers["location"] == told["urls"]["self"] == f"/v1/jobs/{told['id']}"
    early = http.get(told["urls"]["result"])
    assert (early.status_code, early.json()["code"]) == (409, "not_finished")
    waited = http.get(told["urls"]["self"], headers={"prefer": "wait=30"})
    assert waited.json()["state"] == "completed"
    assert "64x48" in http.get(told["urls"]["result"]).json()["text"]


def test_events(http: httpx2.Client, fleet: Fleet) -> None:
    """Every change of a job is reported as it comes, until the job has ended."""
    fleet.simulator.configure(latency_s=1)
    told = http.post("/v1/jobs", json=job(3)).json()
    with http.stream("GET", told["urls"]["events"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        data = [line for line in stream.iter_lines() if line.startswith("data: ")]
    states = [json.loads(line.removeprefix("data: "))["state"] for line in data]
    assert states[-1] == "completed"
    assert "in_progress" in states


def test_cancel_and_listing(http: httpx2.Client, gateway: Gateway, fleet: Fleet) -> None:
    """Jobs are listed by state, each tenant's for itself, and cancelled."""
    fleet.simulator.configure(latency_s=5)
    told = http.post("/v1/jobs", json=job(4)).json()
    assert told["id"] in listed(http, "")
    assert http.post(told["urls"]["cancel"]).json()["state"] == "cancelled"
    assert told["id"] in listed(http, "?state=cancelled")
    assert told["id"] not in listed(http, "?state=completed")
    result = http.get(told["urls"]["result"])
    assert (result.status_code, result.json()["code"]) == (409, "cancelled")
    with gateway.http(gateway.new_key("lookers", [Scope.READ])) as others:
        assert listed(others, "") == []
        assert others.get(told["urls"]["self"]).status_code == 404


def listed(http: httpx2.Client, query: str) -> list[str]:
    return [one["id"] for one in http.get(f"/v1/jobs{query}").json()["jobs"]]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"tenant": "others"}, "tenant"),
        ({"surprise": 1}, "surprise"),
        ({"images": [{"blob": sha256_of(picture(2))}]}, "images.0.blob"),
        ({"images": ["/etc/passwd"]}, "images.0"),
        ({"images": "/etc/passwd"}, "images"),
        ({"images": [{"url": "data:image/png;base64,%"}]}, "images.0.url"),
    ],
)
def test_wrong_jobs(http: httpx2.Client, fields: dict[str, Any], param: str) -> None:
    """A wrong job is reported as a problem with code and field; no file of the machine is read."""
    answer = http.post("/v1/jobs", json=job(5, **fields))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["param"]) == (422, "invalid_job", param)


#: Options of a job that are not their defaults, by the names that jobs have for them.
OPTIONS: Final[dict[str, Any]] = {
    "instructions": "Be brief.",
    "model": "gpt-6-luna",
    "api": "chat_completions",
    "detail": "low",
    "answer_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
    "max_output_tokens": 99,
    "effort": "none",
    "prompt_cache": "instructions",
    "prompt_cache_ttl": "30m",
    "temperature": 0.5,
    "service_tier": "flex",
    "extra_body": {"seed": 7},
    "repair": False,
    "url_mode": "pass",
    "pictures": {"convert": True},
    "priority": "bulk",
    "reuse": "refresh",
    "on_unknown_billing": "hold",
    "metadata": {"a": "b"},
    "deadline": "2090-01-01T00:00:00Z",
    "by": f"{datetime.now(UTC) + timedelta(days=5):%Y-%m-%dT%H:%M:%SZ}",
    "lane": "online",
    "together": True,
    "fallback": ["gpt-6.1-sol"],
    "cascade": {"models": ["gpt-6.1-terra"], "sure_at": 0.8, "sureness": "logprobs"},
}


def test_every_option(http: httpx2.Client, fleet: Fleet) -> None:
    """JSON and forms take each option of a job by its own name, and the job has it."""
    schema = http.get("/openapi.json").json()["paths"]["/v1/jobs"]["post"]["requestBody"]
    fields = schema["content"]["application/json"]["schema"]["properties"]
    # `near` gives stored answers again, which `reuse` here does not.
    assert OPTIONS.keys() == fields.keys() - {"prompt", "images", "near"}
    in_form = {
        name: json.dumps(value) if isinstance(value, dict | list | bool) else str(value)
        for name, value in OPTIONS.items()
    }
    answers = [
        http.post("/v1/jobs", json=job(40, **OPTIONS)),
        http.post("/v1/jobs", data={"prompt": "?", **in_form}, files={"image": picture(41)}),
    ]
    for answer in answers:
        assert answer.status_code == 202, answer.text
        document = job_document(fleet.redis, answer.json()["id"])
        assert document is not None
        told = json.loads(document.to_compact_json())
        assert {name: told[name] for name in OPTIONS} == OPTIONS


def test_failed_job(http: httpx2.Client) -> None:
    """The result of a job that failed is the problem with its own status and code."""
    files = {"image": ("a.png", b"hello")}
    waiting = {"prefer": "wait=30"}
    told = http.post("/v1/jobs", headers=waiting, files=files, data={"prompt": "?"}).json()
    assert (told["state"], told["error"]["code"]) == ("failed", "not_an_image")
    result = http.get(told["urls"]["result"])
    assert (result.status_code, result.json()["code"]) == (400, "not_an_image")
    assert "a.png" in result.json()["detail"]


def test_wrong_bodies(http: httpx2.Client) -> None:
    """A body that is neither JSON nor a form, or a malformed form, is refused."""
    kind = {"content-type": "application/json"}
    assert http.post("/v1/jobs", content=b"{", headers=kind).json()["param"] == "body"
    assert http.post("/v1/jobs", content=b"x", headers={"content-type": "text/plain"}).json()[
        "code"
    ] == ("unsupported_format")
    strange = http.post("/v1/jobs", data={"prompt": "?"}, files={"photo": ("a.png", b"x")})
    assert strange.json()["param"] == "photo"
    files = {"image": ("a.png", picture(1))}
    twice = http.post("/v1/jobs", data={"prompt": ["a", "b"]}, files=files)
    assert twice.json()["param"] == "prompt"


def test_idempotency(http: httpx2.Client) -> None:
    """The same key is the same job; another question under it is a conflict."""
    again = {"idempotency-key": "native"}
    first, second = (http.post("/v1/jobs", json=job(6), headers=again).json() for _ in range(2))
    assert first["id"] == second["id"]
    conflict = http.post("/v1/jobs", json=job(7), headers=again)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "idempotency_conflict")


def test_quotes(http: httpx2.Client, gateway: Gateway) -> None:
    """Jobs, and the lines of a file, are priced before anything is sent; no local file is read."""
    wrong = {"prompt": "?", "images": [{"url": "/etc/passwd"}]}
    told = http.post("/v1/quotes", json={"jobs": [job(8), job(9), wrong]})
    assert told.status_code == 200, told.text
    quote = told.json()
    assert (quote["rows"], quote["asked"], quote["refused"]) == (3, 2, {"invalid_job": 1})
    assert float(quote["rub"]["high"]) >= float(quote["rub"]["expected"]) > 0
    body = {"model": "gpt-6-luna", "input": asked(8)}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": body}
    with gateway.openai() as client:
        content = ("a.jsonl", json.dumps(line).encode() + b"\nno JSON\n")
        file = client.files.create(file=content, purpose="batch")
    of_file = http.post("/v1/quotes", json={"input_file_id": file.id}).json()
    assert (of_file["asked"], of_file["refused"]) == (1, {"invalid_job": 1})
    neither = http.post("/v1/quotes", json={})
    assert (neither.status_code, neither.json()["code"]) == (422, "invalid_job")


def test_events_of_a_batch(http: httpx2.Client, gateway: Gateway) -> None:
    """A batch is followed to its end as a job is."""
    body = {"model": "gpt-6-luna", "input": [{"role": "user", "content": "no picture"}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": body}
    with gateway.openai() as client:
        content = ("a.jsonl", json.dumps(line).encode())
        file = client.files.create(file=content, purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/responses", completion_window="24h"
        )
    with http.stream("GET", f"/v1/batches/{batch.id}/events") as stream:
        data = [line for line in stream.iter_lines() if line.startswith("data: ")]
    assert json.loads(data[-1].removeprefix("data: "))["status"] == "completed"


def test_half_a_surrogate_pair(http: httpx2.Client) -> None:
    """Text that JSON can say and UTF-8 can't is a wrong request, in any place."""
    half, url = "\ud83d", data_url(1)
    fields: list[dict[str, Any]] = [
        *({"prompt": half}, {"metadata": {half: "a"}}, {"metadata": {"a": half}}, {half: 1}),
        *({"images": [{"url": url + half}]}, {"images": [{"url": url, "name": half}]}),
        *({"images": [{half: 1}]}, {"answer_schema": {half: half}}, {"extra_body": {half: half}}),
    ]
    bodies = [("/v1/jobs", job(1) | field) for field in fields]
    bodies += [
        ("/v1/responses", {"model": "gpt-6-luna", "input": asked(1, half)}),
        ("/v1/responses", {"model": half, "input": asked(1)}),
        ("/v1/responses", {"model": "gpt-6-luna", "input": asked(1), "metadata": {"a": half}}),
        ("/v1/responses", {"model": "gpt-6-luna", "input": asked(1), half: 1}),
        ("/v1/chat/completions", {"model": "gpt-6-luna", "messages": said(1, half)}),
        ("/v1/batches", {"input_file_id": half, "endpoint": half, "completion_window": half}),
        ("/v1/quotes", {"jobs": [job(1) | {"metadata": {"a": half}, half: half}]}),
    ]
    kind = {"content-type": "application/json"}
    for path, body in bodies:
        answer = http.post(path, content=json.dumps(body), headers=kind)
        assert answer.status_code < 500, (path, ascii(body)[-200:], answer.text)
        assert answer.status_code >= 400 or path == "/v1/quotes", (path, ascii(body)[-200:])
