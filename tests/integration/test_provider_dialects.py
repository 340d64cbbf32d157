"""Sellers that speak otherwise: the books are their bill, and what is unclear is never free."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from producer.prompts import Prompt
from producer.quote import LearnedStatistics, Quote, QuotePlan, make_quote
from producer.sources import Row
from tests.support.pictures import picture
from tests.support.worker import Bench, served
from visionq.cli.doctor.fleet_checks import usage_findings
from visionq.cli.doctor.provider_checks import ask_provider
from visionq.cli.provider_account import Provider
from visionq.ledger import BudgetScope, Held, Period
from visionq.ledger.metrics import read_counters
from visionq.names import COST_FACTOR, USAGE_KINDS
from visionq.pricing.money import nano_rubles, rubles
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.providers import load_profile
from visionq.settings import Settings
from worker.provider.free_requests import read_balance
from worker.provider.provider_client import make_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from visionq.devstack.simulator import RunningSimulator

MakeBench = Callable[..., Bench]

OTHER = """\
[[provider]]
name = "other"
base_url = "https://llm.example.org/v1"
authorization = "Api-Key"
balance = { path = "/balance", field = "balance" }
refusals = { error = [400, 401, 402, 403, 404, 429] }
cost = { field = "usage.cost", currency = "RUB" }
source = "nobody"
date = 2026-11-30
confirmed = false
"""
APIS = ["responses", "chat_completions"]


@pytest.fixture
def simulator(running: RunningSimulator) -> RunningSimulator:
    running.configure(dialect="proxyapi", price_factor=1, faults_next=[], balance_rub=1000)
    running.reset_bill()
    return running


@pytest.fixture
def bench_of(redis: Redis, simulator: RunningSimulator) -> Iterator[MakeBench]:
    root = simulator.provider_url.removesuffix("/openai/v1")
    with ExitStack() as benches:

        def make(provider: str, base: str = "/v1") -> Bench:
            changes: dict[str, Any] = {"provider": provider, "base_url": root + base}
            bench = Bench(redis, simulator, changes=changes)
            benches.callback(bench.close)
            bench.replaced(profile=load_profile(provider))
            return bench

        yield make


def quoted(redis: Redis | None) -> Quote:
    """Quote a hundred pictures whose size nobody knows."""
    rows = [Row(1, "a", ("https://example.com/a.png",))] * 100
    plan = QuotePlan(Settings(), load_rules(), Prompt("What?"))
    return make_quote(rows, plan, load_prices(), LearnedStatistics(redis), now=datetime.now(UTC))


def balance(bench: Bench) -> Decimal | None:
    with make_client(bench.settings) as client:
        return read_balance(client, bench.dependencies.profile.balance)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(("provider", "base"), [("aitunnel", "/v1"), ("polza", "/api/v1")])
def test_the_sellers_own_figure_wins(
    redis: Redis,
    simulator: RunningSimulator,
    bench_of: MakeBench,
    *,
    provider: str,
    base: str,
    api: str,
) -> None:
    """The bill of a seller 13.7 % dearer than the table is in the books, to the last digit."""
    simulator.configure(dialect=provider, price_factor=1.137)
    bench = bench_of(provider, base)
    answers = [bench.answer(picture(number), api=api) for number in range(5)]
    assert bench.is_booked()
    assert not any(answer.cost_is_estimate for answer in answers)
    assert sum(answer.cost_rub for answer in answers) == Decimal(simulator.bill()["rub"])
    made = quoted(redis)
    assert made.rub.expected is not None
    assert (
        Decimal("1.1369") < made.rub.expected / (quoted(None).rub.expected or 0) < Decimal("1.1371")
    )
    assert any("have cost 1.137 of what the price table says" in note for note in made.notes)
    (finding,) = [one for one in usage_findings(redis) if one.check == "prices.bill"]
    assert "the provider charges 1.137 of what the table of prices says" in finding.message
    assert balance(bench) == 1000 - Decimal(simulator.bill()["rub"])


@pytest.mark.parametrize("fault", ["incomplete", "refusal", "wrong_form"])
def test_paid_failures_are_booked_as_told(
    simulator: RunningSimulator, bench_of: MakeBench, fault: str
) -> None:
    """An answer that is of no use costs what the seller says, and so does one that is repaired."""
    simulator.configure(dialect="aitunnel", price_factor=2, faults_next=[fault])
    bench = bench_of("aitunnel")
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    job = bench.submit(picture(9), answer_schema=schema)
    bench.run(job)
    if bench.view(job).state == "waiting":
        bench.run(job)
    assert Decimal(simulator.bill()["rub"]) > 0
    assert bench.is_booked()


@pytest.mark.parametrize("factor", [1.0, 2.5, 14.0])
def test_a_dearer_seller_overruns_no_budget(
    simulator: RunningSimulator, bench_of: MakeBench, factor: float
) -> None:
    """After its first answer, reservations count what a seller costs beyond the table."""
    simulator.configure(dialect="aitunnel", price_factor=factor, balance_rub=100_000)
    bench = bench_of("aitunnel")
    # An answer of all that it may have: the call costs what it can.
    simulator.configure(answer_tokens=400)
    fields: dict[str, Any] = {"max_output_tokens": 300, "reuse": "off", "model": "gpt-5.4-mini"}
    bench.run(bench.submit(picture(20), **fields))
    first = bench.money()["settled"]
    budget = first * 7 // 2
    bench.ledger.set_budget(BudgetScope("tenant", "default", Period.TOTAL), rubles(budget))
    ids = [bench.submit(picture(number), **fields) for number in range(21, 33)]
    for job_id in ids:
        bench.hint(job_id)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(bench.work, ids))
    assert bench.is_booked()
    assert first < bench.money()["settled"] <= budget
    simulator.configure(answer_tokens=None)


def test_what_is_learned_of_a_sellers_costs_fades(
    redis: Redis, simulator: RunningSimulator, bench_of: MakeBench
) -> None:
    """A seller that gets cheaper is reserved for ever less, and never for less than the table."""
    bench = bench_of("aitunnel")

    def learned(price_factor: float) -> float:
        simulator.configure(dialect="aitunnel", price_factor=price_factor)
        bench.answer(picture(40), reuse="off")
        return float(redis.get(COST_FACTOR + "gpt-6-luna"))  # type: ignore[arg-type]

    assert learned(0.5) == 1
    assert learned(2) == pytest.approx(2, rel=1e-4)
    dear, cheap = learned(2), learned(1)
    assert 1.9 < cheap < dear


def test_costs_of_pictures_never_seen_are_learned(
    redis: Redis, simulator: RunningSimulator, bench_of: MakeBench
) -> None:
    """If the provider fetches the pictures, nothing but the cost is learned."""
    simulator.configure(dialect="aitunnel", price_factor=3)
    bench = bench_of("aitunnel")
    with served({"/a.png": picture(41)}) as site:
        bench.answer(f"{site}/a.png", url_mode="pass")
    assert float(redis.get(COST_FACTOR + "gpt-6-luna")) == pytest.approx(3, rel=1e-4)  # type: ignore[arg-type]
    assert redis.exists(USAGE_KINDS) == 0


def test_refusals_in_the_listed_form_are_free(
    simulator: RunningSimulator, bench_of: MakeBench
) -> None:
    """A 402 in the form that the row lists closes the gate, and nothing is unknown."""
    simulator.configure(dialect="aitunnel", balance_rub=0)
    bench = bench_of("aitunnel")
    job = bench.submit(picture(3))
    outcome = bench.run(job)
    assert isinstance(outcome, Held), outcome
    assert outcome.reason == "insufficient_balance"
    assert bench.money() == {}


@pytest.mark.parametrize("fault", ["500", "402", "401"])
def test_an_unknown_dialect_is_never_free(
    simulator: RunningSimulator, bench_of: MakeBench, tmp_path: Path, fault: str
) -> None:
    """A refusal in a form of nobody's may have been billed: the most that it can be is unknown."""
    file = tmp_path / "other.toml"
    file.write_text(OTHER, "utf-8")
    simulator.configure(dialect="other", faults_next=[fault])
    bench = bench_of(str(file))
    bench.run(bench.submit(picture(4), on_unknown_billing="hold"))
    assert bench.money().get("unknown", 0) > 0
    bench.run(bench.submit(picture(5)))
    assert bench.is_booked()


def test_a_cost_that_can_not_be_is_not_believed(
    redis: Redis, simulator: RunningSimulator, bench_of: MakeBench
) -> None:
    """A bill of a hundred times the worst case: booked by the table, said and counted."""
    simulator.configure(dialect="polza", price_factor=999)
    bench = bench_of("polza", "/api/v1")
    result = bench.answer(picture(6), max_output_tokens=64)
    assert result.cost_is_estimate
    assert any("a cost that the call can't have" in one for one in result.warnings)
    assert nano_rubles(result.cost_rub) == bench.money()["settled"]
    assert result.cost_rub * 800 < Decimal(simulator.bill()["rub"])
    assert sum(read_counters(redis).of("usage_disbelieved", 1).values()) == 1


def test_the_key_goes_in_the_sellers_form(
    simulator: RunningSimulator, bench_of: MakeBench, tmp_path: Path
) -> None:
    """`Api-Key` and `Bearer` are not taken for each other, by workers nor by `doctor`."""
    file = tmp_path / "other.toml"
    file.write_text(OTHER, "utf-8")
    simulator.configure(dialect="other")
    bench = bench_of(str(file))
    profile = bench.dependencies.profile
    assert balance(bench) == 1000
    bearer = bench.settings.model_copy(update={"provider": "polza"})
    with make_client(bearer) as client:
        assert read_balance(client, profile.balance) is None
    url = bench.settings.base_url
    levels = [
        [one.level for one in ask_provider(Provider(url, "sk-1", profile=each))[0]]
        for each in (profile, load_profile("aitunnel"))
    ]
    assert levels == [["ok", "ok"], ["problem"]]
