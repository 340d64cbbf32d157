"""What the exporter serves, at what cost, and what it never says."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.exporter import snapshot
from monitoring.exporter.catalogue import ALL, Counter, Durations
from monitoring.exporter.collector import FleetCollector, period_left
from monitoring.exporter.serving import build_app, make_exporter
from monitoring.exporter.snapshot import MOST_BUDGETS
from tests.support.ledger import LedgerDriver, completed, new_job, outcome_of, paid, unpaid
from tests.support.packing import PackerBench
from visionq.contract import Api, DelayReason
from visionq.contract.limits import Limits
from visionq.ledger import BudgetScope, GateOrder, Ledger, Period
from visionq.ledger.metrics import (
    CALL_SECONDS,
    FLEX_CALL_SECONDS,
    JOB_SECONDS,
    STAGE_SECONDS,
    read_spent_by_lane,
)
from visionq.ledger.provider_batches import BatchSupport, write_support
from visionq.names import BALANCES, FAILED, FINISHED, GATE, JOB, PROVIDER_KEYS
from visionq.pricing.model_list import ListedModels, note_model_list
from visionq.redis_connection import connect
from worker.provider.batches import BatchStatus
from worker.threads.maintenance.gate import BalanceProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

LONGEST = 0.050
MANY = 100_000

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def driver(redis: Redis) -> LedgerDriver:
    driver = LedgerDriver(redis)
    driver.clock.now = time.time()
    return driver


@contextmanager
def running_exporter(driver: LedgerDriver) -> Iterator[str]:
    collector = FleetCollector(driver.ledger, time.monotonic)
    with make_exporter(build_app(collector), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture
def exporter(driver: LedgerDriver) -> Iterator[str]:
    with running_exporter(driver) as url:
        yield url


def scrape(url: str) -> str:
    with urlopen(f"{url}/metrics", timeout=10) as response:  # noqa: S310  # our own, on loopback
        return str(response.read().decode())


def samples(url: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(scrape(url))
        for sample in family.samples
    }


def value(found: Samples, name: str, /, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def everything(driver: LedgerDriver) -> None:
    """Bring about at least one sample of every metric."""
    driver.ledger.set_budget(BudgetScope.tenant("a", Period.DAY), Decimal("2.5"))
    worker = driver.worker(key="k1")
    jobs = [new_job(tenant="a") for _ in range(4)]
    driver.enter(*jobs)
    first, second, third, *_ = [driver.claim(hint.id, worker) for hint in driver.hints()]
    driver.ledger.admit(first, reserve=2_000_000_000)
    counted: dict[str, int] = {
        "calls|{model}|200|ok": 1,
        "limiter_waits|{model}": 2,
        "limiter_wait_ms|{model}": 1500,
        "answers|{tenant}|{model}|provider": 1,
        "tokens|{tenant}|{model}|input": 42,
        "usage_disbelieved|{model}": 1,
        "pictures|png": 1,
        "picture_bytes|source": 100,
        "batch_lines|{model}|answered": 1,
        "answers|{tenant}|{model}|provider|batch": 2,
    }
    CALL_SECONDS.observe(counted, 0.3, "{model}")
    FLEX_CALL_SECONDS.observe(counted, 300, "{model}")
    STAGE_SECONDS.observe(counted, 0.02, "encode")
    JOB_SECONDS.observe(counted, 3, "interactive")
    ending = replace(paid(completed(first.id), 1_500_000_000), counted=counted)
    driver.ledger.finish(first, ending)
    driver.add_statistics(first, ending)
    driver.ledger.finish(second, unpaid(completed(second.id, saved=500_000_000)))
    driver.ledger.finish(third, unpaid(outcome_of("moved m2", third.id)))
    driver.worker("w2", key="k1")
    driver.enter(*(new_job(tenant="b", priority="bulk") for _ in range(20)))
    driver.ledger.steer_gate("k1", GateOrder.CLOSE)
    driver.ledger.set_limits(
        "operator", {"m1": Limits(requests_per_minute=60, tokens_per_minute=60_000)}
    )
    BalanceProbe(driver.redis, driver.ledger, "k1", lambda: Decimal("12.34"), driver.clock).run()
    note_model_list(driver.redis, ListedModels(frozenset({"m1"}), {"m1": date(2027, 1, 14)}))


def expected_names() -> set[str]:
    """Return the names of samples that the catalogue promises."""
    found = set()
    for metric in ALL:
        tails = ("_bucket", "_sum", "_count") if isinstance(metric, Durations) else ("",)
        found |= {metric.name + tail for tail in tails}
    return found


def test_everything_in_the_catalogue_is_served(driver: LedgerDriver, exporter: str) -> None:
    """Each metric of the catalogue has a sample with its labels, and no other metric is served."""
    everything(driver)
    found = samples(exporter)
    assert {name for name, _ in found} == expected_names()
    labels = {name: {label for label, _ in pairs} for name, pairs in found}
    for metric in ALL:
        name = metric.name + ("_sum" if isinstance(metric, Durations) else "")
        assert labels[name] == set(metric.labels), name


def test_names_keep_to_prometheus(driver: LedgerDriver, exporter: str) -> None:
    """Names begin with `visionq_`, counters alone end in `_total`, and each has its help."""
    everything(driver)
    for metric in ALL:
        assert metric.name.startswith("visionq_")
        assert metric.name.endswith("_total") == isinstance(metric, Counter)
        assert metric.help.endswith(".")
    for family in text_string_to_metric_families(scrape(exporter)):
        assert family.documentation
        assert family.type in {"gauge", "counter", "histogram"}


def test_figures_are_those_of_the_ledger(driver: LedgerDriver, exporter: str) -> None:
    """Jobs, money, balance, gate, slots and durations are served as the ledger has them."""
    everything(driver)
    found = samples(exporter)
    ended = {"state": "completed", "tenant": "a", "model": "m1", "code": ""}
    assert value(found, "visionq_up") == 1
    assert value(found, "visionq_jobs_ended_total", **ended) == 2
    assert value(found, "visionq_jobs_ended_total", **ended | {"tenant": "b"}) == 0
    assert value(found, "visionq_spent_rubles_total", tenant="a", model="m1", lane="online") == 1.5
    assert value(found, "visionq_saved_rubles_total", tenant="a", model="m1") == 0.5
    scope = {"kind": "tenant", "name": "a", "period": "day"}
    assert value(found, "visionq_budget_limit_rubles", **scope) == 2.5
    assert value(found, "visionq_budget_used_rubles", **scope) == 1.5
    assert value(found, "visionq_balance_rubles", key="k1") == 12.34
    assert value(found, "visionq_gate_state", state="closed") == 1
    assert value(found, "visionq_workers") == 2
    assert value(found, "visionq_limiter_wait_seconds_total", model="m1") == 1.5
    bulk = {"queue": "visionq.bulk", "tenant": "b", "model": "m1"}
    assert value(found, "visionq_backlog_jobs", **bulk) == 20
    answers = {"tenant": "a", "model": "m1", "source": "provider"}
    assert value(found, "visionq_answers_total", **answers, lane="online") == 1
    assert value(found, "visionq_answers_total", **answers, lane="batch") == 2
    name = "visionq_provider_call_duration_seconds"
    assert value(found, f"{name}_bucket", model="m1", le="0.25") == 0
    assert value(found, f"{name}_bucket", model="m1", le="0.5") == 1
    assert value(found, f"{name}_sum", model="m1") == 0.3


def parked(exporter: str) -> dict[str, float]:
    return {
        dict(labels)["reason"]: value
        for (name, labels), value in samples(exporter).items()
        if name == "visionq_parked_jobs" and value
    }


def test_parked_by_reason(driver: LedgerDriver, exporter: str) -> None:
    """Each job that hangs counts under its reason, wherever the ledger keeps it."""
    worker = driver.worker()
    claims = [driver.begin(worker=worker) for _ in range(4)]
    reasons = ("billing_unknown", "insufficient_balance", "key_rejected")
    for claim, reason in zip(claims, reasons, strict=False):
        driver.ledger.finish(claim, unpaid(outcome_of(f"parked {reason}", claim.id)))
    driver.redis.hset(JOB + claims[2].id, "reason", "of_a_newer_release")
    driver.ledger.set_budget(BudgetScope.tenant("default"), Decimal(0))
    assert driver.ledger.admit(claims[3], reserve=900).reason == "budget_exhausted"
    driver.enter(*(new_job(tenant="t2") for _ in range(5)))
    counted = {"billing_unknown": 1, "insufficient_balance": 1, "other": 1, "budget_exhausted": 1}
    assert parked(exporter) == counted
    driver.ledger.steer_gate("", GateOrder.CLOSE)
    assert parked(exporter) == {**counted, "operator": 5}


def test_parked_beyond_those_that_are_looked_at(
    driver: LedgerDriver, exporter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items beyond the bound are `other`: the sum is always right."""
    monkeypatch.setattr(snapshot, "MOST_LOOKED_AT", 2)
    worker = driver.worker()
    for _ in range(5):
        claim = driver.begin(worker=worker)
        driver.ledger.finish(claim, unpaid(outcome_of("parked billing_unknown", claim.id)))
    assert parked(exporter) == {"billing_unknown": 2, "other": 3}


def test_age_of_the_oldest(driver: LedgerDriver, exporter: str) -> None:
    """The age of the oldest job of each queue is reported, and nothing where none is queued."""
    driver.clock.now -= 90
    driver.enter(new_job(priority="bulk"))
    driver.clock.now += 60
    driver.enter(new_job(priority="bulk"))
    found = samples(exporter)
    age = value(found, "visionq_oldest_queued_job_age_seconds", queue="visionq.bulk")
    assert age is not None
    assert 88 < age < 100
    assert value(found, "visionq_oldest_queued_job_age_seconds", queue="visionq.interactive") == 0


def test_batches_at_the_provider(redis: Redis) -> None:
    """Batches, their lines and age, who packs, files that are left: as the ledger has them."""
    bench = PackerBench(redis)
    bench.clock.now = time.time() - 500
    write_support(redis, "k1", "gpt-6-luna", Api.RESPONSES, BatchSupport(works=True))
    redis.sadd(PROVIDER_KEYS, "k1")
    with running_exporter(LedgerDriver(redis, clock=bench.clock)) as url:
        packer = bench.packer()
        for _ in range(3):
            bench.submit()
        packer.run()
        packer.run()
        bench.submit()
        found = samples(url)
        assert value(found, "visionq_provider_batches", state="out") == 1
        assert value(found, "visionq_provider_batch_lines") == 3
        age = value(found, "visionq_oldest_provider_batch_age_seconds")
        assert age == pytest.approx(520, abs=20)
        assert value(found, "visionq_packers") == 1
        queue = {"queue": "visionq.batch.responses.bulk", "tenant": "default", "model": "other"}
        assert value(found, "visionq_backlog_jobs", **queue) == 1
        bench.provider.answer("batch_1", 2)
        bench.provider.end("batch_1", BatchStatus.EXPIRED)
        bench.provider.faults.keep_files = True
        bench.clock.now += 100
        packer.run()
        bench.dependencies.statistics.flush()
        found = samples(url)
        outcome = {"model": "gpt-6-luna"}
        assert value(found, "visionq_batch_lines_total", **outcome, outcome="answered") == 2
        assert value(found, "visionq_batch_lines_total", **outcome, outcome="expired") == 1
        paid = {"tenant": "default", "model": "gpt-6-luna", "lane": "batch"}
        rubles = value(found, "visionq_spent_rubles_total", **paid)
        assert rubles == pytest.approx(bench.half_price(2) / 1e9)
        assert read_spent_by_lane(redis) == {"online": 0, "batch": bench.half_price(2)}
        assert read_spent_by_lane(redis, "default") == read_spent_by_lane(redis)
        assert read_spent_by_lane(redis, "without a label") == {}
        assert value(found, "visionq_provider_files_left") == 3
        bench.provider.faults.keep_files = False
        bench.pass_time(700)
        packer.run()
        assert value(samples(url), "visionq_provider_files_left") == 0
        assert not [one for one in bench.provider.stored_files if one.startswith("file-out")]
    bench.close()


def test_a_reason_that_is_not_known_is_no_label(driver: LedgerDriver, exporter: str) -> None:
    """The reason of a closed gate is one of the contract's, else `other`."""
    driver.worker(key="k1")
    for reason in (DelayReason.INSUFFICIENT_BALANCE, DelayReason.OPERATOR):
        driver.ledger.steer_gate("k1", GateOrder.CLOSE, reason)
        assert value(samples(exporter), "visionq_gate_reason", reason=reason.value) == 1
    driver.redis.hset(f"{GATE}k1", "reason", "of a newer release")
    assert value(samples(exporter), "visionq_gate_reason", reason="other") == 1
    driver.ledger.steer_gate("k1", GateOrder.OPEN)
    assert not [name for name, _ in samples(exporter) if name == "visionq_gate_reason"]


def test_redis_that_is_away(driver: LedgerDriver) -> None:
    """While Redis does not answer, a scrape says just that, and the exporter lives."""
    away = connect("redis://127.0.0.1:1/0", "tests", retries=0)
    driver.ledger.redis = away
    with running_exporter(driver) as url:
        assert samples(url) == {("visionq_up", ()): 0}
        with urlopen(f"{url}/healthz") as response:  # noqa: S310  # our own, on loopback
            assert response.status == 200
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{url}/anything")  # noqa: S310  # likewise
    away.close()


def commands_of(redis: Redis, act: Callable[[], object]) -> int:
    before = int(redis.info("stats")["total_commands_processed"])
    act()
    return int(redis.info("stats")["total_commands_processed"]) - before


def test_cost_does_not_grow_with_the_past(driver: LedgerDriver, exporter: str) -> None:
    """A scrape takes under 50 ms, and as many commands as ever, with 100,000 finished jobs."""
    everything(driver)
    scrape(exporter)
    before = commands_of(driver.redis, lambda: scrape(exporter))
    script = "for i=ARGV[1],ARGV[1]+19999,1000 do local m={}"
    script += " for j=i,i+999 do m[#m+1]=j m[#m+1]='old-'..j end"
    script += " redis.call('ZADD',KEYS[1],unpack(m)) end"
    for key in (FINISHED, FAILED):
        for first in range(1, MANY + 1, 20_000):
            driver.redis.eval(script, 1, key, first)
    assert value(samples(exporter), "visionq_finished_jobs_kept") == MANY + 2
    assert commands_of(driver.redis, lambda: scrape(exporter)) == before
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        scrape(exporter)
        seconds.append(time.perf_counter() - started)
    print(f"scrape: {sorted(seconds)[5] * 1000:.1f} ms, {before} commands")  # noqa: T201  # figures for `-s`
    assert min(seconds) < LONGEST


def test_a_scrape_is_bounded(driver: LedgerDriver, exporter: str) -> None:
    """Thousands of tenants, lanes, budgets and models make a page of bounded size."""
    for start in range(0, 3000, 500):
        numbers = range(start, start + 500)
        driver.enter(*(new_job(tenant=f"t{n}", model=f"m{n % 50}") for n in numbers))
    for number in range(2 * MOST_BUDGETS):
        driver.ledger.set_budget(BudgetScope.batch(f"b{number}"), Decimal(1))
    driver.ledger.set_budget(BudgetScope.tenant("t1"), Decimal(1))
    found = samples(exporter)
    backlog = [entry for name, entry in found.items() if name[0] == "visionq_backlog_jobs"]
    assert len(backlog) <= 2 * 41 * 21
    assert sum(backlog) == 3000
    scope = {"kind": "tenant", "name": "t1", "period": "total"}
    assert value(found, "visionq_budget_limit_rubles", **scope) == 1
    assert sum(name == "visionq_budget_limit_rubles" for name, _ in found) == MOST_BUDGETS
    assert commands_of(driver.redis, lambda: scrape(exporter)) < 1000


def test_a_balance_that_is_not_told_is_not_kept(redis: Redis) -> None:
    """A key that may not ask for its balance has none, and one process of a key asks a minute."""
    told = [Decimal(5), None]
    for balance in told:
        redis.delete("visionq:watch:balance-read:k")
        for reply in (balance, Decimal(9)):
            BalanceProbe(redis, Ledger(redis), "k", partial(next, iter([reply])), time.time).run()
        stored = redis.hget(BALANCES, "k")
        assert (stored.split()[0] if stored else None) == (b"5000000000" if balance else None)


@pytest.mark.parametrize(
    ("period", "moment", "left"),
    [
        (Period.TOTAL, "2026-11-22T12:00:00+03:00", float("inf")),
        (Period.DAY, "2026-11-22T12:00:00+03:00", 12 * 3600),
        (Period.MONTH, "2026-12-31T23:00:00+03:00", 3600),
        (Period.MONTH, "2026-02-27T00:00:00+03:00", 2 * 86400),
    ],
)
def test_time_left_of_a_budget(period: Period, moment: str, left: float) -> None:
    """A budget begins again at midnight, or on the first of a month, where the operator lives."""
    now = datetime.fromisoformat(moment).timestamp()
    assert period_left(period, now, "Europe/Moscow") == left


def test_failures_by_code(driver: LedgerDriver, exporter: str) -> None:
    """A failed job is served under its code, that of a model without an answer as `other`."""
    claim = driver.begin(new_job(tenant="a"))
    driver.ledger.finish(claim, unpaid(outcome_of("failed", claim.id)))
    labels = {"state": "failed", "tenant": "a", "model": "other", "code": "not_an_image"}
    assert value(samples(exporter), "visionq_jobs_ended_total", **labels) == 1
