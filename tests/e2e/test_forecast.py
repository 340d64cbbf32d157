"""Forecasts against the simulator's own bill, with real workers."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from redis import Redis

from producer.prompts import Prompt
from producer.quote import LearnedStatistics, Quote, QuotePlan, make_quote
from producer.sources import Row
from tests.support.fleet import running_fleet
from tests.support.waiting import until
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.fleet import Fleet

pytestmark = pytest.mark.e2e

SIZES = [(64, 48), (400, 300), (640, 640), (900, 600), (300, 1200), (1100, 1100)]
PROMPT = "Что изображено? Ответь одним предложением."
LEARNED_FROM = 100
LONG = [pytest.mark.long, pytest.mark.timeout(900)]


def pictures(folder: Path, count: int, seed: int) -> list[Path]:
    """Make pictures of many sizes, none like another."""
    source = random.Random(seed)
    paths = []
    for number in range(count):
        target, size = BytesIO(), source.choice(SIZES)
        width, height = (side + source.randint(0, 40) for side in size)
        colour = tuple(source.randrange(256) for _ in range(3))
        Image.new("RGB", (width, height), colour).save(target, "JPEG")
        paths.append(folder / f"{seed}-{number}.jpg")
        paths[-1].write_bytes(target.getvalue())
    return paths


def quote(paths: Sequence[Path], redis: Redis, options: dict[str, Any]) -> Quote:
    rows = [Row(number, path.name, (str(path),)) for number, path in enumerate(paths, 1)]
    plan = QuotePlan(Settings(), load_rules(), Prompt(PROMPT), options)
    return make_quote(rows, plan, load_prices(), LearnedStatistics(redis), now=datetime.now(UTC))


def ask(fleet: Fleet, paths: Sequence[Path], options: dict[str, Any]) -> Decimal:
    """Ask about all; returns what the simulator billed for them."""
    before = Decimal(fleet.simulator.bill()["rub"])
    fields: list[dict[str, Any]] = [
        {"prompt": PROMPT, "images": [path], "priority": "bulk", **options} for path in paths
    ]
    done = list(fleet.client.submit_many(fields))
    for job in done:
        fleet.client.wait(job, timeout=120)
    return Decimal(fleet.simulator.bill()["rub"]) - before


#: Of some 1,500 tokens, which bulk jobs share in the provider's cache.
INSTRUCTIONS = "Describe the product as our catalogue does. " * 140


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"model": "gpt-4o", "detail": "high"}, 150),
        ({"model": "gpt-4.1-mini", "detail": "high"}, 150),
        ({"model": "gpt-6-luna", "effort": "medium"}, 100),
        ({"model": "gpt-6-luna", "instructions": INSTRUCTIONS}, 100),
        ({"model": "anthropic/claude-haiku-4-5"}, 60),
        pytest.param({"model": "gpt-4o", "detail": "high"}, 1000, marks=LONG),
        pytest.param({"model": "gpt-4.1-mini", "detail": "high"}, 1000, marks=LONG),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_a_forecast_corrects_itself(tmp_path: Path, options: dict[str, Any], count: int) -> None:
    """The bill counts 1.31 of the table: after a hundred answers the quote is within 2 %."""
    with running_fleet(tmp_path, workers=2) as fleet, Redis.from_url(fleet.server.url) as redis:
        # By that day none of the models has ended.
        fleet.simulator.configure(token_factor=1.31, today="2026-11-29")
        paths = pictures(tmp_path, LEARNED_FROM + count, seed=7)
        learned_from, rest = paths[:LEARNED_FROM], paths[LEARNED_FROM:]
        blind = quote(learned_from, redis, options)
        billed = ask(fleet, learned_from, options)
        assert blind.rub.low is not None
        assert blind.rub.high is not None
        assert blind.rub.low <= billed <= blind.rub.high

        # Workers write what they have counted once a second.
        until(
            lambda: quote(rest, redis, options).chosen[0].answers == LEARNED_FROM, 30, "the counts"
        )
        made = quote(rest, redis, options)
        billed = ask(fleet, rest, options)
        assert made.rub.low is not None
        assert made.rub.expected is not None
        assert made.rub.high is not None
        off = abs(made.rub.expected / billed - 1)
        assert off < Decimal("0.02"), f"{made.rub.expected} ₽ forecast, {billed} ₽ billed"
        assert made.rub.low <= billed <= made.rub.high
        assert made.chosen[0].factor == pytest.approx(1.31, abs=0.15)
        assert made.chosen[0].answers == LEARNED_FROM
        assert made.seconds is not None
