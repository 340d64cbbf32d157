"""Efforts and prompt caches on their way through a worker to the provider's bill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.pictures import picture
from tests.support.worker import Bench
from visionq.contract import ResultDocument, parse_job
from visionq.ledger import Failed, NewJob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.devstack.simulator import RunningSimulator

LONG: Final = "Describe what you see, in one sentence. " * 150
APIS: Final = ["responses", "chat_completions"]


@pytest.fixture
def bench(redis: Redis, simulator: RunningSimulator) -> Iterator[Bench]:
    bench = Bench(redis, simulator, changes={"default_model": "gpt-6-luna"})
    yield bench
    bench.close()


@pytest.mark.parametrize("api", APIS)
def test_efforts_reach_the_bill(bench: Bench, api: str) -> None:
    """No effort, no reasoning; the more of it, the more it costs, and the books are the bill."""
    answers = [bench.answer(picture(1), api=api, effort=one) for one in (None, "low", "high")]
    spent = [answer.usage.reasoning_tokens for answer in answers]
    assert spent[0] == 0 < spent[1] < spent[2]
    costs = [answer.cost_rub for answer in answers]
    assert costs == sorted(set(costs))
    assert bench.is_booked()


@pytest.mark.parametrize("api", APIS)
def test_a_limit_that_reasoning_takes(bench: Bench, api: str) -> None:
    """The answer that was paid for nothing says what took its place, and what to set."""
    error = bench.failure(picture(2), api=api, effort="high", max_output_tokens=300)
    assert error.code == "incomplete"
    assert error.usage is not None
    assert error.usage.reasoning_tokens <= 300
    assert f"effort high took {error.usage.reasoning_tokens:,} tokens of 300" in error.message
    assert "--effort none" in error.message
    assert bench.is_booked()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"effort": "minimal"}, "effort: gpt-6-luna takes none, low"),
        ({"effort": "low", "temperature": 0}, "temperature: gpt-6-luna takes one only without"),
        ({"model": "gpt-4o-mini", "prompt_cache": "off"}, "prompt_cache: gpt-4o-mini takes"),
    ],
)
def test_the_last_door(bench: Bench, fields: dict[str, Any], message: str) -> None:
    """An option that was not refused before is refused by the worker: unsent, unpaid, by name."""
    (sha,) = bench.blobs.put([picture(3)])
    given = {"model": "gpt-6-luna", "prompt": "?", "images": [{"blob": sha}], **fields}
    bench.ledger.submit([NewJob("odd", parse_job({**given, "max_output_tokens": 99}))])
    outcome = bench.run("odd")
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, bench.simulator.bill()["calls"]) == ("invalid_job", 0)
    assert outcome.error.message.startswith(message)


def asked(bench: Bench, first: int, api: str, **fields: Any) -> list[ResultDocument]:
    given = {"api": api, "priority": "bulk", "instructions": LONG, **fields}
    return [bench.answer(picture(number), **given) for number in range(first, first + 4)]


@pytest.mark.parametrize("api", APIS)
def test_long_instructions_are_written_once(bench: Bench, api: str) -> None:
    """Jobs that share them read them; no picture is written, and the provider's way is dearer."""
    kept = asked(bench, 10, api, instructions=f"{api} {LONG}")
    first, *others = (answer.usage for answer in kept)
    assert first.cache_write_tokens > 1024
    assert first.cached_tokens == 0
    for usage in others:
        assert (usage.cache_write_tokens, usage.cached_tokens) == (0, first.cache_write_tokens)
    by_itself = asked(bench, 20, api, instructions=f"own {api} {LONG}", prompt_cache="implicit")
    assert all(answer.usage.cache_write_tokens for answer in by_itself)
    assert sum(answer.cost_rub for answer in kept) < sum(answer.cost_rub for answer in by_itself)
    assert bench.is_booked()


@pytest.mark.parametrize("api", APIS)
def test_nothing_else_is_written(bench: Bench, api: str) -> None:
    """Not for one job alone, not without instructions, and not for who wants none of it."""
    cases: tuple[dict[str, Any], ...] = (
        {"priority": "interactive"},
        {"instructions": "Be brief.", "prompt": LONG},
        {"prompt_cache": "off"},
    )
    for number, fields in enumerate(cases):
        for answer in asked(bench, 40 + 10 * number, api, **fields):
            assert (answer.usage.cache_write_tokens, answer.usage.cached_tokens) == (0, 0), fields
    assert bench.is_booked()
