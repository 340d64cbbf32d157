"""Equal questions through real workers: asked once, answered to everybody; and typed answers."""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from tests.support.fleet import running_fleet
from tests.support.pictures import picture
from visionq.contract import ResultDocument
from visionq.pricing.money import nano_rubles
from visionq.sdk import AsyncClient

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Fleet


class Kind(enum.StrEnum):
    FLAT = "плоская"
    DEEP = "объёмная"


class Answer(BaseModel):
    title: str
    kind: Kind
    tags: list[str] = []
    note: str | None = None


def results_of(fleet: Fleet, count: int, distinct: int) -> list[ResultDocument]:
    """Ask `count` questions at once about this many pictures."""
    questions = (
        {"prompt": "Что изображено?", "images": [picture(number % distinct)]}
        for number in range(count)
    )
    submitted = list(fleet.client.submit_many(questions))
    results = []
    for _, end in fleet.client.results(submitted, timeout=100):
        assert isinstance(end, ResultDocument), end
        results.append(end)
    return results


@pytest.mark.timeout(180)
def test_a_thousand_jobs_about_a_hundred_pictures(tmp_path: Path) -> None:
    """1,000 jobs over 100 pictures at once to four workers: 100 calls, and 900 answers for free."""
    with running_fleet(tmp_path, workers=2, concurrency=8) as fleet:
        fleet.start_workers(2)  # by twos: each pair has its minute on a busy machine
        fleet.simulator.configure(latency_s=0.1)
        results = results_of(fleet, 1_000, 100)
        bill = fleet.simulator.bill()
        free = [result for result in results if result.cached]
        print(f"calls {bill['calls']}, billed {bill['billed']}, cached {len(free)}")  # noqa: T201  # figures for `-s`
        assert (bill["calls"], bill["billed"]) == (100, 100)
        assert len(results) == 1_000
        assert len(free) == 900
        assert {result.cost_rub for result in free} == {0}
        paid = sum(nano_rubles(result.cost_rub) for result in results)
        assert fleet.money()["settled"] == paid
        assert fleet.money()["saved"] == 9 * paid
        assert fleet.money()["reserved"] == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_typed_answers(tmp_path: Path, api: str) -> None:
    """A pydantic model goes in and its object comes out, sync and async, repaired if need be."""
    with running_fleet(tmp_path, workers=1) as fleet:
        fleet.simulator.configure(faults_next=["wrong_form"])
        mended = fleet.client.analyze(picture(1), "Опиши", schema=Answer, api=api, timeout=40)
        assert isinstance(mended.parsed, Answer)
        assert mended.repaired
        assert "parsed" not in mended.to_public()
        assert fleet.simulator.bill()["calls"] == 2

        async def again() -> Answer:
            async with AsyncClient(redis_url=fleet.server.url) as client:
                image = picture(1)
                found = await client.analyze(image, "Опиши", schema=Answer, api=api, timeout=40)
                assert found.cached
                return found.parsed

        assert asyncio.run(again()) == mended.parsed
        plain = fleet.client.analyze(picture(2), "Опиши", timeout=40)
        assert plain.data is None

        job = fleet.client.submit(
            prompt="Что?", images=[picture(3)], schema=Answer, api=api, idempotency_key="one"
        )
        assert isinstance(job.wait(40, schema=Answer).parsed, Answer)
        same = fleet.client.analyze(
            picture(3), "Что?", schema=Answer, api=api, timeout=40, idempotency_key="one"
        )
        assert same.id == job.id
