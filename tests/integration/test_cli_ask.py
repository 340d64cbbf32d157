"""`visionq ask` against a real Redis, a fleet of ledger calls answering."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from producer import ask_command
from tests.support.clients import Fleet
from visionq import cli
from visionq.devstack.redis_server import running_redis
from visionq.ledger.search import JobFilter, find_jobs
from visionq.ledger.views import job_document
from visionq.names import JOB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from visionq.devstack.redis_server import RedisServer


@pytest.fixture(autouse=True)
def fleet(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)
    with Fleet(redis_url) as fleet:
        yield fleet


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "фото.jpg"
    path.write_bytes(b"a picture")
    return str(path)


def ask(*arguments: str) -> int:
    return cli.run(["ask", *arguments])


def test_json(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json stdout is the result document alone, other alphabets unescaped."""
    assert ask(photo, "-p", "Что изображено?", "--json") == 0
    output = capsys.readouterr()
    assert "answer to Что изображено?" in output.out
    result = json.loads(output.out)
    assert result["cost_rub"] == "0.1234"
    assert output.err == ""


def test_paid_in_vain(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A paid reply that is no answer is shown, with its cost."""
    assert ask(photo, "-p", "malformed", "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "error": {
            "code": "invalid_output",
            "message": "words: missing",
            "file": None,
            "cost_rub": "0.1234",
            "text": "Что это?",
        }
    }
    assert ask(photo, "-p", "malformed") == 1
    assert "paid 0.1234 ₽ for this:\n" + "Что это?" in capsys.readouterr().err


def test_people(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json: the answer, then one line with model, tokens, cost and time."""
    assert ask(photo, "-p", "What?", "--model", "m7") == 0
    answer, line = capsys.readouterr().out.splitlines()
    assert answer == "answer to What?"
    for part in ("m7", "1,234 tokens", "0.1234 ₽", " s"):
        assert part in line


def test_options(photo: str, tmp_path: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every option reaches the job."""
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    stdin = io.TextIOWrapper(io.BytesIO("Что?".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    options = "--model m7 --api chat_completions --detail low --max-output-tokens 55"
    url = "https://example.com/a.png"
    assert ask(photo, url, "-p", "-", *options.split(), "--schema", str(schema)) == 0
    (view,) = find_jobs(redis, JobFilter())
    document = job_document(redis, view.id)
    assert document is not None
    assert [image.name or image.url for image in document.images] == [photo, url]
    fields = document.to_public()
    expected: dict[str, Any] = {
        "prompt": "Что?",
        "model": "m7",
        "api": "chat_completions",
        "detail": "low",
        "max_output_tokens": 55,
        "answer_schema": {"type": "object"},
    }
    assert {name: fields[name] for name in expected} == expected


def test_job_fails(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that fails is reported with its code and picture, as a line or as JSON, exit 1."""
    assert ask(photo, "-p", "fail") == 1
    assert capsys.readouterr().err == "error: not_an_image: a.png: no picture type known\n"
    assert ask(photo, "-p", "fail", "--json") == 1
    error = {"code": "not_an_image", "message": "no picture type known", "file": "a.png"}
    assert json.loads(capsys.readouterr().out) == {"error": error}


@pytest.mark.parametrize("prompt", ["broke", "park"])
def test_no_money(photo: str, prompt: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Failed or parked for want of money, the exit code says who has to act."""
    assert ask(photo, "-p", prompt, "--json") == 4
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "insufficient_balance"


@pytest.mark.parametrize("name", ["none.jpg", "."])
def test_no_file(
    name: str, tmp_path: Path, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing file, or a directory, is reported before anything is submitted."""
    path = str(tmp_path / name)
    assert ask(path, "-p", "What?", "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["file"]) == ("file_not_found", path)
    assert ask(path, "-p", "What?") == 1
    assert capsys.readouterr().err.startswith("error: file_not_found: ")
    assert redis.keys(JOB + "*") == []


@pytest.mark.parametrize(
    "arguments", [[], ["a.jpg"], ["a.jpg", "-p", "?", "--api", "x"], ["-p", "?"]]
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is exit 2 and tells what is wrong."""
    assert ask(*arguments) == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--effort", "ultra"), "effort: gpt-6-luna takes none, low, "),
        (("--service-tier", "turbo"), "service_tier: turbo has no price for gpt-6-luna"),
        (
            ("--model", "anthropic/claude-haiku-4-5", "--detail", "low"),
            "detail: anthropic/claude-haiku-4-5 takes none",
        ),
        (("--model", "gpt-5.4-mini", "--prompt-cache", "off"), "prompt_cache: gpt-5.4-mini takes"),
    ],
)
def test_what_a_model_does_not_take_starts_nothing(
    photo: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, str],
    message: str,
) -> None:
    """Without a stack none is started for a question that would be refused."""
    monkeypatch.delenv("VISIONQ_REDIS_URL")
    monkeypatch.setattr(ask_command, "found_stack", lambda *_: pytest.fail("a stack was started"))
    assert ask(photo, "-p", "What?", *options) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_no_redis(
    photo: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Redis that is configured and can't be reached is exit 3; no other stack is started."""
    monkeypatch.setenv("VISIONQ_REDIS_URL", "redis://127.0.0.1:1/0")
    assert ask(photo, "-p", "What?", "--json") == 3
    output = capsys.readouterr()
    assert json.loads(output.out)["error"]["code"] == "queue_unavailable"
    assert ask(photo, "-p", "What?") == 3
    assert capsys.readouterr().err.startswith("error: queue_unavailable: ")


def test_interrupted(
    photo: str, fleet: Fleet, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C cancels the job, so that nobody pays for an answer that nobody reads."""
    fleet.may_work.clear()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("producer.ask_command._look", interrupt)
    assert ask(photo, "-p", "What?") == 130
    (view,) = find_jobs(redis, JobFilter())
    assert view.state == "cancelled"


def test_warnings(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings go to stderr; what cost nothing, or was estimated, is reported as such."""
    assert ask(photo, "-p", "warn") == 0
    output = capsys.readouterr()
    assert output.err == "warning: a.png: blurred\n"
    assert "~0.1234 ₽" in output.out
    assert output.out.endswith("· cached\n")


def test_redis_restarts(
    photo: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While the answer takes its time, ask says what it waits for: a worker, and Redis."""
    monkeypatch.setattr("producer.ask_command._LOOK_EVERY", 0.4)
    with running_redis(tmp_path / "redis") as server, Fleet(server.url, registered=False) as fleet:
        monkeypatch.setenv("VISIONQ_REDIS_URL", server.url)
        fleet.may_work.clear()
        outage = threading.Thread(target=restart, args=(server, fleet))
        outage.start()
        assert ask(photo, "-p", "What?") == 0
        outage.join()
    output = capsys.readouterr()
    assert output.out.startswith("answer to What?")
    told = [line.partition(": ")[2] for line in output.err.splitlines()]
    unserved = "no worker serves visionq.interactive: start one with `visionq worker` …"
    assert told[:2] == [unserved, "Redis does not answer …"]


def restart(server: RedisServer, fleet: Fleet) -> None:
    time.sleep(2.5)  # AOF is written every second
    server.kill()
    time.sleep(2)
    server.start()
    fleet.may_work.set()
