"""The counters that the scripts keep: exact, bounded, and never in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.integration.ledger_kit import (
    Desk,
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
    from redis import Redis

    from visionq.ledger import NewJob


@pytest.fixture
def desk(redis: Redis) -> Desk:
    return Desk(redis)


def counters(desk: Desk) -> Counters:
    return read_counters(desk.redis)


def total(desk: Desk, name: str) -> int:
    return sum(value for key, value in counters(desk).values.items() if key[0] == name)


def answered(desk: Desk, *jobs: NewJob) -> None:
    """Have jobs paid for: from its first answer on a model is counted under its name."""
    worker = desk.worker(slots=200)
    desk.enter(*jobs)
    for hint in desk.hints():
        claim = desk.claim(hint.id, worker)
        desk.ledger.admit(claim)
        desk.ledger.finish(claim, paid(completed(claim.id)))


def test_jobs_are_counted_by_tenant_and_model(desk: Desk) -> None:
    """Submissions and ends are counted by tenant and model, ends by state and code too."""
    answered(desk, new_job(tenant="a", model="m/1:x"), new_job(tenant="b"))
    desk.redis.delete(METRICS)
    jobs = [new_job(tenant="a", model="m/1:x") for _ in range(3)] + [new_job(tenant="b")]
    worker = desk.worker()
    desk.enter(*jobs)
    desk.ledger.submit(jobs)
    assert counters(desk).of("submitted", 2) == {("a", "m/1:x"): 3, ("b", "m1"): 1}
    claims = [desk.claim(hint.id, worker) for hint in desk.hints()]
    mine = [claim for claim in claims if claim.document.tenant == "a"]
    desk.ledger.finish(mine[0], paid(completed(mine[0].id)))
    desk.ledger.finish(mine[1], unpaid(outcome_of("failed", mine[1].id)))
    desk.ledger.cancel([mine[2].id])
    assert counters(desk).of("ended", 4) == {
        ("completed", "a", "m/1:x", ""): 1,
        ("failed", "a", "m/1:x", "not_an_image"): 1,
        ("cancelled", "a", "m/1:x", "cancelled"): 1,
    }
    assert counters(desk).tenants == {"a", "b"}
    assert counters(desk).models == {"m/1:x", "m1"}


def test_what_a_worker_counted_is_added_once(desk: Desk) -> None:
    """An ending's counts are added under the job's own labels, however often it is told."""
    claim = desk.begin(new_job(tenant="a"))
    counted: dict[str, int] = {}
    CALL_SECONDS.observe(counted, 0.3, "{model}")
    counted |= {"calls|{model}|200|ok": 1, "tokens|{tenant}|{model}|input": 42, "nothing": 0}
    ending = replace(paid(completed(claim.id), 700), counted=counted)
    assert desk.ledger.finish(claim, ending)
    assert desk.ledger.finish(claim, ending)
    found = counters(desk)
    assert found.of("calls", 3) == {("m1", "200", "ok"): 1}
    assert found.of("tokens", 3) == {("a", "m1", "input"): 42}
    assert found.of("nothing", 0) == {}
    sizes, seconds = found.sizes(CALL_SECONDS)[("m1",)]
    assert (sum(sizes), sizes[2], seconds) == (1, 1, 0.3)


def test_money_is_counted_by_tenant_and_model(desk: Desk) -> None:
    """What was paid, and what stored answers saved, stand under tenant and model."""
    first, second = desk.begin(new_job(tenant="a")), desk.begin(new_job(tenant="a"))
    desk.ledger.admit(first, reserve=1000)
    desk.ledger.finish(first, paid(completed(first.id), 700))
    desk.ledger.finish(second, unpaid(completed(second.id, saved=500)))
    found = counters(desk)
    assert found.of("spent", 2) == {("a", "m1"): 700}
    assert found.of("saved", 2) == {("a", "m1"): 500}
    assert desk.money() == {"settled": 700, "saved": 500}


def test_delays_are_counted_by_reason(desk: Desk) -> None:
    """A job that waits, or is parked, is counted under its reason; words that are none are not."""
    for kind in ("waiting 99", "parked billing_unknown", "retrying 99"):
        claim = desk.begin()
        desk.ledger.finish(claim, unpaid(outcome_of(kind, claim.id)))
    claim = desk.begin()
    ending = outcome_of("parked key_rejected", claim.id)
    desk.ledger.finish(claim, Ending(replace(ending, reason="any|text at all")))  # type: ignore[arg-type]
    assert counters(desk).of("delayed", 2) == {
        ("waiting", "rate_limited"): 1,
        ("parked", "billing_unknown"): 1,
        ("waiting", "provider_unavailable"): 1,
        ("parked", "other"): 1,
    }


def test_lost_leases_and_late_ends_are_counted(desk: Desk) -> None:
    """A lease that lapses is counted by whether a call was out, and its late end as fenced."""
    unsent = desk.begin()
    desk.lapse(unsent)
    desk.ledger.cancel([unsent.id])
    sent = desk.begin()
    desk.ledger.admit(sent, reserve=10)
    desk.lapse(sent)
    assert counters(desk).of("leases_lost", 1) == {("unsent",): 1, ("sent",): 1}
    assert not desk.ledger.finish(sent, unclear(outcome_of("failed", sent.id)))
    assert total(desk, "fenced") == 1
    assert total(desk, "workers_vanished") >= 1
    assert counters(desk).of("requeued", 1)[("in_progress",)] == 2


def test_tenants_and_models_are_bounded(desk: Desk) -> None:
    """Beyond 40 tenants and 20 models the rest is counted together, and nothing is lost."""
    answered(desk, *(new_job(tenant=f"t{number}", model=f"m{number}") for number in range(100)))
    desk.enter(*(new_job(tenant=f"t{number}", model=f"m{number}") for number in range(100)))
    found = counters(desk).of("submitted", 2)
    assert sum(found.values()) == 200
    assert len({tenant for tenant, _ in found}) == 40 + 1
    assert len({model for _, model in found}) == 20 + 1
    assert (len(counters(desk).tenants), len(counters(desk).models)) == (40, 20)


def test_invented_models_take_no_places(desk: Desk) -> None:
    """A model has a series from its first paid answer on, however many were named before."""
    desk.enter(*(new_job(model=f"invented-{number}") for number in range(60)))
    worker = desk.worker(slots=200)
    for hint in desk.hints():
        claim = desk.claim(hint.id, worker)
        ending = unpaid(outcome_of("missing", claim.id))
        desk.ledger.finish(claim, replace(ending, counted={"calls|{model}|404|x": 1}))
    assert counters(desk).models == frozenset()
    assert counters(desk).of("calls", 3) == {("other", "404", "x"): 60}
    claim = desk.begin(new_job(model="real"), worker)
    desk.ledger.admit(claim)
    ending = replace(paid(completed(claim.id)), counted={"calls|{model}|200|ok": 1})
    desk.ledger.finish(claim, ending)
    assert counters(desk).models == {"real"}
    assert counters(desk).of("calls", 3)["real", "200", "ok"] == 1


def test_places_are_given_up(desk: Desk) -> None:
    """Who was not counted for a day gives the place, and the counters, to who needs it."""
    answered(desk, *(new_job(tenant=f"t{number}", model=f"m{number}") for number in range(40)))
    answered(desk, new_job(tenant="late", model="late"))
    assert "late" not in counters(desk).tenants | counters(desk).models
    desk.clock.now += 20 * 3600
    answered(desk, *(new_job(tenant=f"t{number}", model=f"m{number}") for number in range(19)))
    desk.clock.now += 5 * 3600
    answered(desk, new_job(tenant="late", model="late"))
    assert {"late", "t0", "t18"} <= counters(desk).tenants
    assert counters(desk).models == {"late", *(f"m{number}" for number in range(19))}
    assert (len(counters(desk).tenants), len(counters(desk).models)) == (40, 20)
    labels = {label for key in counters(desk).values for label in key[1:]}
    assert "m19" not in labels
    assert len(labels & {f"t{number}" for number in range(40)}) == 39


def test_counters_are_bounded(desk: Desk) -> None:
    """A hash that is full takes no new combination of labels, but counts it as other."""
    desk.redis.hset(METRICS, mapping={f"x|{number}": 1 for number in range(5000)})
    desk.enter(new_job(tenant="a"), new_job(tenant="a"))
    assert counters(desk).of("submitted", 2) == {("other", "other"): 2}


def test_an_expired_job_brings_no_end_down(desk: Desk) -> None:
    """The late end of a job of which nothing is left is fenced, whatever was counted."""
    claim = desk.begin()
    desk.redis.delete(f"visionq:job:{claim.id}")
    outcome = completed(claim.id)
    assert isinstance(outcome, Completed)
    ending = replace(paid(outcome), counted={"calls|{model}|200|ok": 1})
    assert not desk.ledger.finish(claim, ending)
