"""The ledger against the simulator's own bill, for any question to any model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.pictures import picture
from tests.support.warm_processes import running_simulator
from tests.support.worker import Bench
from visionq.contract import Detail
from visionq.contract.pictures import ASKED_OF_MODEL
from visionq.devstack.simulator.generated_answers import MESSAGE_TOKENS, text_tokens
from visionq.ledger import BudgetScope, Completed, Period
from visionq.ledger.metrics import read_tokens
from visionq.pricing.model_options import Temperature, load_option_table
from visionq.pricing.money import nano_rubles, rubles
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import image_tokens, load_rules, seen_size
from worker.pipeline import steps
from worker.pipeline.costs import worst_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from visionq.devstack.simulator import RunningSimulator
    from worker.pipeline import Attempt

MODELS: Final = tuple(price.model for price in load_prices().prices)
OTHER_VENDORS: Final = tuple(model for model in MODELS if "/" in model)
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
    assert options is not None
    assert family is not None
    price = load_prices().for_model(model)
    efforts = options.efforts
    tiers = [tier for tier in TIERS if price and price.tier_factor(tier) is not None]
    details = [Detail.AUTO, *family.details]
    fields: dict[str, Any] = {
        "model": model,
        "api": draw(st.sampled_from(("responses", "chat_completions"))),
        "detail": draw(st.sampled_from(details)).value,
        "effort": draw(st.none() | st.sampled_from(efforts)) if efforts else None,
        "service_tier": draw(st.sampled_from(tiers)),
        "instructions": draw(st.sampled_from(INSTRUCTIONS)),
        "answer_schema": draw(
            st.sampled_from((None, SCHEMA) if options.structured_outputs else (None,))
        ),
        "max_output_tokens": draw(st.sampled_from((None, 64, 2000))),
        "reuse": "off",
        "repair": False,
    }
    cache = draw(st.sampled_from(CACHES))
    if cache is not None and model.startswith(("gpt-5.6", "gpt-6")):
        fields["extra_body"] = {"prompt_cache_options": cache}
    if options.temperature is Temperature.ALWAYS:
        fields["temperature"] = draw(st.sampled_from((None, 0.5)))
    return {name: value for name, value in fields.items() if value is not None}


@given(st.lists(st.tuples(questions(), st.integers(0, 5)), min_size=1, max_size=6))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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


SIDES: Final = st.integers(1, 900) | st.integers(1, 4000)


@given(st.sampled_from(OTHER_VENDORS), SIDES, SIDES)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_pictures_of_other_vendors_count_as_forecast(
    bench: Bench, model: str, width: int, height: int
) -> None:
    """A picture of any size is sent as the model sees it and billed as it was forecast."""
    before = bench.money().get("settled", 0)
    answer = bench.answer(picture(1, (width, height)), model=model, reuse="off")
    (sent,) = answer.images
    assert sent.sent is not None
    seen = seen_size(load_rules(), model, Detail.AUTO, width, height)
    assert (sent.sent.width, sent.sent.height) == seen
    forecast = image_tokens(load_rules(), model, Detail.AUTO, width, height)
    assert answer.usage.input_tokens == forecast + text_tokens("What?") + MESSAGE_TOKENS
    assert bench.money()["settled"] - before == nano_rubles(answer.cost_rub)
    assert bench.money() == {"settled": nano_rubles(Decimal(bench.simulator.bill()["rub"]))}


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
@pytest.mark.parametrize("model", ["anthropic/claude-haiku-4-5", "openai/gpt-6-luna", "gpt-6-luna"])
def test_a_name_with_a_vendor_goes_to_the_unified_address(
    bench: Bench, model: str, api: str
) -> None:
    """The simulator has such names there alone, and names without one at the other alone."""
    assert bench.answer(picture(2), model=model, api=api, reuse="off").model == model
    away = bench.dependencies.profile.model_copy(update={"routes": ()})
    bench.replaced(profile=away)
    if "/" in model:
        assert bench.failure(picture(3), model=model, api=api).code == "model_not_found"
    else:
        bench.answer(picture(3), model=model, api=api)


def test_what_a_model_would_report_by_a_schema_is_refused_unpaid(bench: Bench) -> None:
    """A judgement that the model is asked for needs a schema, which Claude takes none of here."""
    error = bench.failure(
        picture(4), model="anthropic/claude-haiku-4-5", pictures={ASKED_OF_MODEL[0]: "warn"}
    )
    assert error.code == "invalid_job"
    assert (
        f"pictures.{ASKED_OF_MODEL[0]}: anthropic/claude-haiku-4-5 takes no JSON" in error.message
    )
    assert bench.simulator.bill()["calls"] == 0


@pytest.mark.parametrize("api", ["responses", "chat_completions"])
def test_the_cache_in_the_books(bench: Bench, api: str) -> None:
    """Cache writes and reads are in the result, and in the bill to the last digit."""
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
    assert read_tokens(bench.redis, "nobody") == {}  # not counted, which is not the same as zero
    assert bench.money() == {"settled": nano_rubles(Decimal(bench.simulator.bill()["rub"]))}


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-5.4-mini", "anthropic/claude-haiku-4-5"])
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
    if "/" in model:  # takes neither
        del fields["effort"], fields["service_tier"]
    first = bench.run(bench.submit(picture(99), **fields))
    assert isinstance(first, Completed)
    budget = nano_rubles(first.result.cost_rub) * 12
    bench.ledger.set_budget(BudgetScope("tenant", "default", Period.TOTAL), rubles(budget))
    ids = [bench.submit(picture(number), **fields) for number in range(30)]
    for job_id in ids:
        bench.hint(job_id)
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(bench.work, ids))
    billed = nano_rubles(Decimal(bench.simulator.bill()["rub"]))
    assert bench.money()["settled"] == billed <= budget
    answered = sum(isinstance(outcome, Completed) for outcome in outcomes)
    assert 0 < answered < len(ids), "the budget was no test"
