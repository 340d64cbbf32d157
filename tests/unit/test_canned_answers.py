"""Programs that are tested with canned answers get what the ledger would give them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from visionq import AsyncClient, Client, JobFailed, QueueUnavailable, WaitTimeout
from visionq.contract import State
from visionq.errors import (
    IdempotencyConflict,
    InputFileNotFound,
    InvalidJob,
    JobNotFound,
    VisionqError,
)
from visionq.testing import CannedAnswers, canned_answers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Mug(BaseModel):
    colour: str


@pytest.fixture(name="answers")
def _answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedAnswers]:
    monkeypatch.delenv("VISIONQ_REDIS_URL", raising=False)
    with canned_answers() as answers:
        yield answers


def rows(*prompts: str) -> list[dict[str, Any]]:
    return [{"prompt": prompt, "images": [("a.jpg", b"x")]} for prompt in prompts]


def test_the_first_that_fits(answers: CannedAnswers, tmp_path: Path) -> None:
    """A job gets the first answer for its prompt and picture, each as often as it is given."""
    (tmp_path / "mug.jpg").write_bytes(b"x")
    answers.add("once", image="mug.jpg", times=1)
    answers.add("a mug", prompt="What", image="mug.jpg")
    answers.add("else", cost_rub="0.25")
    with Client() as client:
        texts = [client.analyze(tmp_path / "mug.jpg", "What?").text for _ in range(2)]
        other = client.analyze(b"x", "What?", metadata={"sku": "7"})
    assert texts == ["once", "a mug"]
    assert (other.text, other.cost_rub, other.metadata) == ("else", Decimal("0.25"), {"sku": "7"})
    assert [job.prompt for job in answers.jobs] == ["What?"] * 3


def test_typed_answers(answers: CannedAnswers) -> None:
    """Data reach the caller's model; data that no model could give fail the test."""
    answers.add(data=Mug(colour="красный"), prompt="good")
    answers.add(data={"color": "red"}, prompt="drifted")
    answers.add("no JSON", prompt="text")
    with Client() as client:
        result = client.analyze(b"x", "good", schema=Mug)
        assert (result.parsed, result.text) == (Mug(colour="красный"), '{"colour": "красный"}')
        for prompt in ("drifted", "text"):
            with pytest.raises(AssertionError, match="does not match the schema"):
                client.analyze(b"x", prompt, schema=Mug)


def test_errors(answers: CannedAnswers) -> None:
    """A job ends with its canned error; what keeps jobs from being taken is raised at once."""
    answers.add(error="insufficient_balance", prompt="poor")
    answers.add(error=QueueUnavailable("Redis is away"), prompt="away")
    with Client() as client:
        job = client.submit(**rows("poor")[0])
        with pytest.raises(JobFailed) as failure:
            job.wait(timeout=1)
        assert failure.value.code == job.status().reason == "insufficient_balance"
        assert job.status().state is State.FAILED
        with pytest.raises(QueueUnavailable, match="Redis is away"):
            client.submit(**rows("away")[0])
        with pytest.raises(JobNotFound):
            client.get("unknown")
        with pytest.raises(JobNotFound):
            client.wait("unknown")


def test_what_is_checked_as_ever(answers: CannedAnswers) -> None:
    """A wrong field or file is refused as by the real client, and is no job."""
    with Client() as client:
        with pytest.raises(InvalidJob, match="detail"):
            client.submit(prompt="?", images=[b"x"], detail="huge")
        with pytest.raises(InputFileNotFound):
            client.analyze("no-such-file.jpg", "?")
    assert answers.jobs == []


def test_a_question_without_an_answer(answers: CannedAnswers) -> None:
    """A test that forgot an answer says which."""
    answers.add("x", prompt="other")
    with Client() as client, pytest.raises(AssertionError, match=r"'What\?' about image 1"):
        client.analyze(b"x", "What?")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "one of"),
        ({"text": "a", "error": "refused"}, "one of"),
        ({"error": "tired"}, "no code 'tired'"),
    ],
)
def test_a_wrong_answer(answers: CannedAnswers, wrong: dict[str, Any], says: str) -> None:
    """An answer that is none is refused where it is added."""
    with pytest.raises(ValueError, match=says):
        answers.add(**wrong)


def test_pending_jobs(answers: CannedAnswers) -> None:
    """A pending job times out at once, and can be cancelled."""
    answers.add(pending=True)
    with Client() as client:
        job = client.submit(**rows("?")[0])
        with pytest.raises(WaitTimeout):
            job.wait(timeout=60)
        with pytest.raises(AssertionError, match="would never end"):
            job.wait()
        with pytest.raises(AssertionError, match="would never end"):
            list(client.stream(rows("?")))
        assert job.cancel().state is State.CANCELLED
        with pytest.raises(JobFailed, match="cancelled"):
            job.wait()


def test_idempotency_keys(answers: CannedAnswers) -> None:
    """The same question under a key is one job; another one is a conflict."""
    answers.add("x")
    with Client() as client:
        first, again = (client.submit(**rows("?")[0], idempotency_key="k") for _ in range(2))
        assert (first.id, first.created, again.created) == (again.id, True, False)
        with pytest.raises(IdempotencyConflict):
            client.submit(**rows("!")[0], idempotency_key="k")


def test_many(answers: CannedAnswers) -> None:
    """Batches are submitted, awaited and streamed; each error is the end of its own job."""
    answers.add(error="refused", prompt="bad")
    answers.add("x")
    with Client() as client:
        jobs = list(client.submit_many(rows("1", "bad", "2")))
        ends = dict(client.results(jobs))
        assert [isinstance(ends[job], VisionqError) for job in jobs] == [False, True, False]
        streamed = list(client.stream([*rows("1"), {"prompt": "?"}, *rows("bad")], window=2))
        positions = {job.position: isinstance(end, VisionqError) for job, end in streamed}
        assert positions == {0: False, 1: True, 2: True}
        client.set_budget(tenant="shop", day=5)
        assert [book.left_rub for book in client.budgets()] == [5]
        client.clear_budget(tenant="shop")
        assert client.budgets() == ()


async def test_asyncio(answers: CannedAnswers) -> None:
    """An `AsyncClient` gets the same."""
    answers.add(data={"colour": "red"}, prompt="typed")
    answers.add(error="refused", prompt="bad")
    answers.add(pending=True, prompt="late")
    answers.add("x")
    async with AsyncClient() as client:
        assert (await client.analyze(b"x", "typed", schema=Mug)).parsed.colour == "red"
        jobs = [job async for job in client.submit_many(rows("1", "bad"))]
        ends = [end async for _, end in client.results(jobs)]
        assert [isinstance(end, VisionqError) for end in ends] == [False, True]
        assert len([end async for _, end in client.stream(rows("1", "2"))]) == 2
        late = await client.submit(**rows("late")[0])
        with pytest.raises(WaitTimeout):
            await late.wait(timeout=60)
        assert (await late.cancel()).state is State.CANCELLED
        with pytest.raises(JobNotFound):
            await client.get("unknown")
        await client.set_budget(tenant="shop", day=5)
        assert len(await client.budgets()) == 1
