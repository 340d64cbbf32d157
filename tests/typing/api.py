"""The public API as callers' type checkers see it. Checked by mypy, never run."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

from pydantic import BaseModel

import visionq
from visionq import AsyncClient, Client, Job, JobFailed, QueueUnavailable, WaitTimeout
from visionq.contract import JobView, ResultDocument, State
from visionq.errors import VisionqError
from visionq.sdk import AsyncJob, TypedResult

if TYPE_CHECKING:
    from visionq.testing import CannedAnswers


def sync_use(client: Client) -> None:
    with client as entered, Path("d.png").open("rb") as file:
        assert_type(entered, Client)
        job = client.submit(
            prompt="What?",
            images=[Path("a.png"), "b.png", b"bytes", ("c.png", b"bytes"), file],
            idempotency_key="k",
            detail="low",
            answer_schema={"type": "object"},
            deadline=datetime.now(UTC),
            metadata={"sku": "7"},
        )
    assert_type(job, Job)
    assert_type(job.id, str)
    assert_type(job.wait(timeout=5), ResultDocument)
    assert_type(job.status(), JobView)
    assert_type(job.status().state, State)
    assert_type(client.wait("id"), ResultDocument)
    assert_type(client.wait(job).cost_rub, Decimal)
    assert_type(client.wait(job).data, Any)
    assert_type(client.cancel(job), JobView)
    for one in client.submit_many([{"prompt": "?", "images": ["a.png"]}]):
        assert_type(one, Job)
    for given, end in client.results([job, "id"], timeout=5):
        assert_type(given, Job | str)
        assert_type(end, ResultDocument | VisionqError)


class Model(BaseModel):
    n: int


def typed_use(client: Client) -> None:
    job = client.submit(prompt="?", images=["a.png"], schema=Model, repair=False)
    assert_type(client.wait(job, schema=Model), TypedResult[Model])
    assert_type(client.wait(job, schema=Model).parsed, Model)
    assert_type(client.analyze("a.png", "?", schema=Model, timeout=5).parsed.n, int)
    assert_type(client.analyze("a.png", "?", service_tier="flex"), ResultDocument)
    assert_type(client.analyze("a.png", "?", schema={"type": "object"}), ResultDocument)


def canned_use(visionq_answers: CannedAnswers) -> None:
    visionq_answers.add("a mug", image="mug.jpg", cost_rub="0.25", times=1)
    visionq_answers.add(data=Model(n=1), prompt="?")
    visionq_answers.add(error="refused")
    assert_type(visionq_answers.jobs[0].prompt, str)


def frames_use(rows: list[dict[str, Any]]) -> None:
    mapped = visionq.map(rows, image="photo", prompt="?", schema=Model, max_rub=50, detail="low")
    assert_type(mapped, list[dict[str, Any]])
    assert_type(visionq.quote(rows, prompt="?").expected, Decimal)


async def async_typed_use(client: AsyncClient) -> None:
    assert_type((await client.wait("id", schema=Model)).parsed, Model)
    assert_type((await client.analyze("a.png", "?", schema=Model)).parsed, Model)


async def async_use(client: AsyncClient) -> None:
    async with client as entered:
        assert_type(entered, AsyncClient)
    job = await client.submit(prompt="What?", images=["a.png"])
    assert_type(job, AsyncJob)
    assert_type(await job.wait(timeout=5), ResultDocument)
    assert_type(await job.status(), JobView)
    assert_type(await client.cancel("id"), JobView)
    async for one in client.submit_many([{"prompt": "?", "images": ["a.png"]}]):
        assert_type(one, AsyncJob)
    async for given, end in client.results([job]):
        assert_type(given, AsyncJob | str)
        assert_type(end, ResultDocument | VisionqError)


def errors(job: Job) -> str:
    try:
        return job.wait().text
    except JobFailed as error:
        assert_type(error.code, str)
        return error.code
    except (WaitTimeout, QueueUnavailable) as error:
        return error.message


def mistakes(client: Client) -> None:
    """Each line is refused: an ignore that is not needed is an error of its own."""
    client.submit(prompt="?", images=[7])  # type: ignore[list-item]
    client.submit(prompt="?", images=["a"], colour="red")  # type: ignore[call-arg]
    client.submit(prompt="?", images=["a"], max_output_tokens="many")  # type: ignore[arg-type]
    client.submit(images=["a"])  # type: ignore[call-arg]
    client.wait(7)  # type: ignore[call-overload]
