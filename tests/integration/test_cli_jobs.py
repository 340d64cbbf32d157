"""`visionq jobs` against a real Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clients import Fleet
from tests.support.worker_ledger import WorkerLedger
from visionq import Client, JobFailed, cli
from visionq.contract import DelayReason
from visionq.ledger import Billing, Claim, Ending, Parked, Registration
from visionq.names import HINT_QUEUES
from visionq.redis_connection import connect
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

Output = pytest.CaptureFixture[str]


@pytest.fixture
def client(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("VISIONQ_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "160")
    with Client(Settings(default_model="m1"), redis_url) as client:
        yield client


def submit(client: Client, prompt: str = "What?") -> str:
    return client.submit(prompt=prompt, images=[("[b]a:car:.png", b"x")]).id


def run(*arguments: str) -> int:
    return cli.run(["jobs", *arguments])


def printed(output: Output) -> Any:
    return json.loads(output.readouterr().out)


@pytest.fixture
def ended(client: Client, redis_url: str) -> tuple[str, str]:
    """One job that was answered and one that failed."""
    with Fleet(redis_url):
        good, bad = submit(client, "Что это?"), submit(client, "fail")
        client.wait(good, 10)
        with pytest.raises(JobFailed):
            client.wait(bad, 10)
    return good, bad


@pytest.mark.usefixtures("client")
def test_none(capsys: Output) -> None:
    """An empty ledger is reported to be empty."""
    assert run("list") == 0
    assert capsys.readouterr().out == "no jobs\n"
    assert run("list", "--json") == 0
    assert printed(capsys) == []


def test_list(client: Client, ended: tuple[str, str], capsys: Output) -> None:
    """Jobs are listed with their states; a state or a limit narrows the list."""
    queued = submit(client)
    assert run("list") == 0
    table = capsys.readouterr().out
    for shown in (*ended, queued, "completed", "failed (not_an_image)", "queued", "0.1234"):
        assert shown in table
    assert run("list", "--json") == 0
    assert {view["id"] for view in printed(capsys)} == {*ended, queued}
    assert run("list", "--state", "failed", "--json") == 0
    assert [view["id"] for view in printed(capsys)] == [ended[1]]
    assert run("list", "--limit", "1", "--json") == 0
    assert len(printed(capsys)) == 1


def test_show_answer(ended: tuple[str, str], capsys: Output) -> None:
    """A job is shown with what was asked and answered, names and texts as they are."""
    assert run("show", ended[0]) == 0
    shown = capsys.readouterr().out
    for part in ("completed", "Что это?", "answer to Что это?", "0.1234 ₽", "[b]a:car:.png"):
        assert part in shown
    assert run("show", ended[0], "--json") == 0
    view = printed(capsys)
    assert view["state"] == "completed"
    assert view["document"]["prompt"] == "Что это?"
    assert view["result"]["text"] == "answer to Что это?"


def test_show_failure(ended: tuple[str, str], capsys: Output) -> None:
    """A failed job is shown with its error and has no result."""
    assert run("show", ended[1]) == 0
    shown = capsys.readouterr().out
    assert "failed (not_an_image)" in shown
    assert "no picture type known" in shown
    assert run("show", ended[1], "--json") == 0
    view = printed(capsys)
    assert (view["error"]["code"], view["result"]) == ("not_an_image", None)


def test_cancel(client: Client, ended: tuple[str, str], capsys: Output) -> None:
    """Cancelling tells of each job what became of it; an ended one stays as it is."""
    queued = submit(client)
    assert run("cancel", queued, ended[0]) == 0
    assert capsys.readouterr().out == (
        f"{queued} cancelled\n{ended[0]} had already ended: completed\n"
    )
    assert client.get(queued).state == "cancelled"
    assert client.get(ended[0]).state == "completed"


def test_cancel_json(client: Client, capsys: Output) -> None:
    """Programs get the state before, and unknown ids, which is exit 1."""
    queued = submit(client)
    assert run("cancel", queued, "nobody", "--json") == 1
    first, second = printed(capsys)
    assert first == {"id": queued, "cancelled": True, "before": "queued", "error": None}
    assert (second["cancelled"], second["error"]["code"]) == (False, "job_not_found")


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("command", ["show", "cancel"])
def test_unknown(command: str, capsys: Output) -> None:
    """An unknown id is one clear line, exit 1."""
    assert run(command, "nobody") == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: job_not_found: no job nobody: ")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("command", [["list"], ["show", "j"], ["cancel", "j"]])
def test_no_redis(command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """A Redis out of reach is exit 3, as a line or as JSON."""
    monkeypatch.setenv("VISIONQ_REDIS_URL", "redis://127.0.0.1:1/0")
    assert run(*command) == 3
    assert capsys.readouterr().err.startswith("error: queue_unavailable: ")
    assert run(*command, "--json") == 3
    assert printed(capsys)["error"]["code"] == "queue_unavailable"


def test_no_stack(capsys: Output) -> None:
    """Without an address and without a stack, one line says how to start one."""
    assert run("list") == 3
    assert "visionq up" in capsys.readouterr().err


def test_resume(client: Client, redis_url: str, capsys: Output) -> None:
    """Jobs of unknown billing ask once more when an operator says so; others stay as they are."""
    parked, queued = submit(client), submit(client, "Another?")
    with connect(redis_url, "tests") as redis:
        ledger = WorkerLedger(redis)
        worker = Registration("w1", 8, HINT_QUEUES)
        ledger.renew(worker)
        assert {hint.id for hint in ledger.dispatch().hints} == {parked, queued}
        claim = ledger.claim(parked, "t1", worker)
        assert isinstance(claim, Claim)
        ledger.admit(claim)
        ledger.finish(claim, Ending(Parked(DelayReason.BILLING_UNKNOWN), Billing.UNKNOWN))
    assert run("resume", queued, "nobody") == 1
    assert capsys.readouterr().out == f"{queued} not resumed: hinted\nnobody not resumed: missing\n"
    assert run("resume", "--all", "--tenant", "somebody") == 0
    assert capsys.readouterr().out == ""
    assert run("resume", "--all", "--json") == 0
    assert printed(capsys) == [{"id": parked, "state": "resumed"}]
    assert client.get(parked).state == "queued"
    assert run("resume") == 2
    assert run("resume", parked, "--all") == 2
