"""The ledger against the simulator's own bill, whatever is asked of whichever model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.worker_kit import Bench, picture
from visionq.contract import Detail
from visionq.devstack.simulator import running_simulator
from visionq.ledger import BudgetScope, Completed, Period
from visionq.ledger.metrics import read_tokens
from visionq.pricing.model_options import Temperature, load_option_table
from visionq.pricing.money import nano_rubles, rubles
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from worker.pipeline import steps
from worker.pipeline.forecast import worst_case
from worker.work import work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.devstack.simulator import RunningSimulator
    from worker.pipeline import Attempt

MODELS: Final = tuple(price.model for price in load_prices().prices)
TIERS: Final = (None, "auto", "default", "flex", "fast", "priority")
#: Instructions that jobs share: none, too short to be cached, of about 1,500 and 3,000 tokens.
INSTRUCTIONS: Final = (None, "Be brief.", "Describe goods. " * 375, "Опиши товар точно. " * 480)
CACHES: Final = (
    None,
    {"mode": "implicit"},
    {"mode": "explicit"},
    {"mode": "implicit", "ttl": "30m"},
)
SCHEMA: Final = {
    "type": "object",
    "properties": {"colour": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator() as running:
        running.configure(today="2026-11-29")  # by that day none of the table's models has ended
        yield running


@pytest.fixture
def bench(redis: Redis, simulator: RunningSimulator) -> Iterator[Bench]:
    simulator.reset_bill()
    bench = Bench(redis, simulator)
    yield bench
    bench.close()


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """Return the fields of a job that its model takes."""
    model = draw(st.sampled_from(MODELS))
    options, family = load_option_table(None).for_model(model), load_rules().family_of(model)
    efforts = options.efforts if options else ()
    details = [each for each in Detail if each != Detail.ORIGINAL or (family and family.original)]
    fields: dict[str, Any] = {
        "model": model,
        "api": draw(st.sampled_from(("responses", "chat_completions"))),
        "detail": draw(st.sampled_from(details)).value,
        "effort": draw(st.none() | st.sampled_from(efforts)) if efforts else None,
        "service_tier": draw(st.sampled_from(TIERS)),
        "instructions": draw(st.sampled_from(INSTRUCTIONS)),
        "answer_schema": draw(st.sampled_from((None, SCHEMA))),
        "max_output_tokens": draw(st.sampled_from((None, 64, 2000))),
        "reuse": "off",
        "repair": False,
    }
    cache = draw(st.sampled_from(CACHES))
    if cache is not None and options is not None and model.startswith(("gpt-5.6", "gpt-6")):
        fields["extra_body"] = {"prompt_cache_options": cache}
    if options is None or options.temperature is Temperature.ALWAYS:
        fields["temperature"] = draw(st.sampled_from((None, 0.5)))
    return {name: value for name, value in fields.items() if value is not None}


@given(st.lists(st.tuples(questions(), st.integers(0, 5)), min_size=1, max_size=6))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_ledger_is_the_bill(bench: Bench, jobs: list[tuple[dict[str, Any], int]]) -> None:
    """For any jobs the books say what the bill says, and no job costs more than was reserved."""
    reserved: list[int] = []

    def noted(attempt: Attempt) -> int:
        reserved.append(worst_case(attempt))
        return reserved[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "worst_case", noted)
        for fields, number in jobs:
            before = bench.money().get("settled", 0)
            outcome = bench.run(bench.submit(picture(number, (640, 480)), **fields))
            cost = bench.money()["settled"] - before
            assert 0 < cost <= reserved[-1], outcome
            if isinstance(outcome, Completed):
                assert nano_rubles(outcome.result.cost_rub) == cost
    assert bench.money() == {"settled": nano_rubles(Decimal(bench.simulator.bill()["rub"]))}


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_the_cache_in_the_books(bench: Bench, api: str) -> None:
    """What was written and what was read stand in the result, and in the bill to the last digit."""
    fields = {
        "model": "gpt-6-luna",
        "api": api,
        "effort": "none",
        "instructions": f"{INSTRUCTIONS[3]} {api}",
        "extra_body": {"prompt_cache_options": {"mode": "implicit"}},
    }
    first = bench.answer(picture(70), **fields).usage
    second = bench.answer(picture(71), **fields).usage
    assert first.cached_tokens == 0 < second.cached_tokens
    assert first.cache_write_tokens == first.input_tokens
    assert second.cached_tokens + second.cache_write_tokens == second.input_tokens
    both = first + second
    assert read_tokens(bench.redis, "default") == {
        "input": 0,
        "cached_input": both.cached_tokens,
        "cache_write": both.cache_write_tokens,
        "output": both.output_tokens,
        "reasoning": 0,
    }
    assert sum(read_tokens(bench.redis).values()) == both.total_tokens
    assert not any(read_tokens(bench.redis, "nobody").values())
    assert bench.money() == {"settled": nano_rubles(Decimal(bench.simulator.bill()["rub"]))}


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-5.4-mini", "gpt-6.1-terra"])
def test_no_budget_is_overrun(bench: Bench, model: str) -> None:
    """Sixteen threads at work on a budget for few of their jobs: the bill stays within it."""
    fields: dict[str, Any] = {
        "model": model,
        "effort": "low",
        "instructions": INSTRUCTIONS[2],
        "service_tier": "fast",
        "max_output_tokens": 300,
        "reuse": "off",
    }
    first = bench.run(bench.submit(picture(99), **fields))
    assert isinstance(first, Completed)
    budget = nano_rubles(first.result.cost_rub) * 12
    bench.ledger.set_budget(BudgetScope("tenant", "default", Period.TOTAL), rubles(budget))
    ids = [bench.submit(picture(number), **fields) for number in range(30)]
    for job_id in ids:
        bench.hint(job_id)
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(
            pool.map(lambda job_id: work(job_id, bench.tools, bench.leases, bench.here), ids)
        )
    billed = nano_rubles(Decimal(bench.simulator.bill()["rub"]))
    assert bench.money()["settled"] == billed <= budget
    answered = sum(isinstance(outcome, Completed) for outcome in outcomes)
    assert 0 < answered < len(ids), "the budget was no test"
