"""The counters that the scripts keep: exact, bounded, and never in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.support.ledger import (
    LedgerDriver,
    completed,
    new_job,
    outcome_of,
    paid,
    unclear,
    unpaid,
)
from visionq.ledger import Completed, Ending
from visionq.ledger.metrics import CALL_SECONDS, Counters, read_counters
from visionq.names import METRICS

if TYPE_CHECKING:
    from visionq.ledger import NewJob


def counters(driver: LedgerDriver) -> Counters:
    return read_counters(driver.redis)


def total(driver: LedgerDriver, name: str) -> int:
    return sum(value for key, value in counters(driver).values.items() if key[0] == name)


def answered(driver: LedgerDriver, *jobs: NewJob) -> None:
    """Have jobs paid for: from its first answer on a model is counted under its name."""
    worker = driver.worker(slots=200)
    driver.enter(*jobs)
    for hint in driver.hints():
        claim = driver.claim(hint.id, worker)
        driver.ledger.admit(claim)
        driver.ledger.finish(claim, paid(completed(claim.id)))


def test_jobs_are_counted_by_tenant_and_model(driver: LedgerDriver) -> None:
    """Submissions and ends are counted by tenant and model, ends by state and code too."""
    answered(driver, new_job(tenant="a", model="m/1:x"), new_job(tenant="b"))
    driver.redis.delete(METRICS)
    jobs = [new_job(tenant="a", model="m/1:x") for _ in range(3)] + [new_job(tenant="b")]
    worker = driver.worker()
    driver.enter(*jobs)
    driver.ledger.submit(jobs)
    assert counters(driver).of("submitted", 2) == {("a", "m/1:x"): 3, ("b", "m1"): 1}
    claims = [driver.claim(hint.id, worker) for hint in driver.hints()]
    mine = [claim for claim in claims if claim.document.tenant == "a"]
    driver.ledger.finish(mine[0], paid(completed(mine[0].id)))
    driver.ledger.finish(mine[1], unpaid(outcome_of("failed", mine[1].id)))
    driver.ledger.cancel([mine[2].id])
    assert counters(driver).of("ended", 4) == {
        ("completed", "a", "m/1:x", ""): 1,
        ("failed", "a", "m/1:x", "not_an_image"): 1,
        ("cancelled", "a", "m/1:x", "cancelled"): 1,
    }
    assert counters(driver).tenants == {"a", "b"}
    assert counters(driver).models == {"m/1:x", "m1"}


def test_what_a_worker_counted_is_added(driver: LedgerDriver) -> None:
    """An ending's counts are added under the job's own labels."""
    claim = driver.begin(new_job(tenant="a"))
    counted: dict[str, int] = {}
    CALL_SECONDS.observe(counted, 0.3, "{model}")
    counted |= {"calls|{model}|200|ok": 1, "tokens|{tenant}|{model}|input": 42, "nothing": 0}
    ending = replace(paid(completed(claim.id), 700), counted=counted)
    assert driver.ledger.finish(claim, ending)
    driver.add_statistics(claim, ending)
    found = counters(driver)
    assert found.of("calls", 3) == {("m1", "200", "ok"): 1}
    assert found.of("tokens", 3) == {("a", "m1", "input"): 42}
    assert found.of("nothing", 0) == {}
    sizes, seconds = found.sizes(CALL_SECONDS)[("m1",)]
    assert (sum(sizes), sizes[2], seconds) == (1, 1, 0.3)


def test_money_is_counted_by_tenant_and_model(driver: LedgerDriver) -> None:
    """Money paid, and saved by cached answers, is counted by tenant and model."""
    first, second = driver.begin(new_job(tenant="a")), driver.begin(new_job(tenant="a"))
    driver.ledger.admit(first, reserve=1000)
    driver.ledger.finish(first, paid(completed(first.id), 700))
    driver.ledger.finish(second, unpaid(completed(second.id, saved=500)))
    found = counters(driver)
    assert found.of("spent", 2) == {("a", "m1"): 700}
    assert found.of("saved", 2) == {("a", "m1"): 500}
    assert driver.money() == {"settled": 700, "saved": 500}


def test_delays_are_counted_by_reason(driver: LedgerDriver) -> None:
    """A job that waits, or is parked, is counted under its reason; words that are none are not."""
    for kind in ("waiting 99", "parked billing_unknown", "retrying 99"):
        claim = driver.begin()
        driver.ledger.finish(claim, unpaid(outcome_of(kind, claim.id)))
    claim = driver.begin()
    ending = outcome_of("parked key_rejected", claim.id)
    driver.ledger.finish(claim, Ending(replace(ending, reason="any|text at all")))  # type: ignore[arg-type]
    assert counters(driver).of("delayed", 2) == {
        ("waiting", "rate_limited"): 1,
        ("parked", "billing_unknown"): 1,
        ("waiting", "provider_unavailable"): 1,
        ("parked", "other"): 1,
    }


def test_lost_leases_and_late_ends_are_counted(driver: LedgerDriver) -> None:
    """A lease that lapses is counted by whether a call was out, and its late end as fenced."""
    unsent = driver.begin()
    driver.lapse(unsent)
    driver.ledger.cancel([unsent.id])
    sent = driver.begin()
    driver.ledger.admit(sent, reserve=10)
    driver.lapse(sent)
    assert counters(driver).of("leases_lost", 1) == {("unsent",): 1, ("sent",): 1}
    assert not driver.ledger.finish(sent, unclear(outcome_of("failed", sent.id)))
    assert total(driver, "fenced") == 1
    assert total(driver, "workers_vanished") >= 1
    assert counters(driver).of("requeued", 1)[("in_progress",)] == 2


def test_tenants_and_models_are_bounded(driver: LedgerDriver) -> None:
    """Beyond 40 tenants and 20 models the rest is counted together, and nothing is lost."""
    answered(driver, *(new_job(tenant=f"t{number}", model=f"m{number}") for number in range(100)))
    driver.enter(*(new_job(tenant=f"t{number}", model=f"m{number}") for number in range(100)))
    found = counters(driver).of("submitted", 2)
    assert sum(found.values()) == 200
    assert len({tenant for tenant, _ in found}) == 40 + 1
    assert len({model for _, model in found}) == 20 + 1
    assert (len(counters(driver).tenants), len(counters(driver).models)) == (40, 20)


def test_invented_models_take_no_places(driver: LedgerDriver) -> None:
    """A model has a series from its first paid answer on, however many were named before."""
    driver.enter(*(new_job(model=f"invented-{number}") for number in range(60)))
    worker = driver.worker(slots=200)
    for hint in driver.hints():
        claim = driver.claim(hint.id, worker)
        ending = unpaid(outcome_of("missing", claim.id))
        driver.ledger.finish(claim, ending)
        driver.add_statistics(claim, replace(ending, counted={"calls|{model}|404|x": 1}))
    assert counters(driver).models == frozenset()
    assert counters(driver).of("calls", 3) == {("other", "404", "x"): 60}
    claim = driver.begin(new_job(model="real"), worker)
    driver.ledger.admit(claim)
    ending = replace(paid(completed(claim.id)), counted={"calls|{model}|200|ok": 1})
    driver.ledger.finish(claim, ending)
    driver.add_statistics(claim, ending)
    assert counters(driver).models == {"real"}
    assert counters(driver).of("calls", 3)["real", "200", "ok"] == 1


def test_places_are_given_up(driver: LedgerDriver) -> None:
    """A tenant not counted for a day gives up its place, and its counters, to another."""
    answered(driver, *(new_job(tenant=f"t{number}", model=f"m{number}") for number in range(40)))
    answered(driver, new_job(tenant="late", model="late"))
    assert "late" not in counters(driver).tenants | counters(driver).models
    driver.clock.now += 20 * 3600
    answered(driver, *(new_job(tenant=f"t{number}", model=f"m{number}") for number in range(19)))
    driver.clock.now += 5 * 3600
    answered(driver, new_job(tenant="late", model="late"))
    assert {"late", "t0", "t18"} <= counters(driver).tenants
    assert counters(driver).models == {"late", *(f"m{number}" for number in range(19))}
    assert (len(counters(driver).tenants), len(counters(driver).models)) == (40, 20)
    labels = {label for key in counters(driver).values for label in key[1:]}
    assert "m19" not in labels
    assert len(labels & {f"t{number}" for number in range(40)}) == 39


def test_counters_are_bounded(driver: LedgerDriver) -> None:
    """A hash that is full takes no new combination of labels, but counts it as other."""
    driver.redis.hset(METRICS, mapping={f"x|{number}": 1 for number in range(5000)})
    driver.enter(new_job(tenant="a"), new_job(tenant="a"))
    assert counters(driver).of("submitted", 2) == {("other", "other"): 2}


def test_an_expired_job_brings_no_end_down(driver: LedgerDriver) -> None:
    """The late end of a job of which nothing is left is fenced, regardless of the counts."""
    claim = driver.begin()
    driver.redis.delete(f"visionq:job:{claim.id}")
    outcome = completed(claim.id)
    assert isinstance(outcome, Completed)
    ending = replace(paid(outcome), counted={"calls|{model}|200|ok": 1})
    assert not driver.ledger.finish(claim, ending)
