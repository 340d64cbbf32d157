"""What one tenant may have in the ledger, and how its jobs are found among those of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producer.gateway.admission import KnownModels
from producer.gateway.http_errors import ApiError
from producer.gateway.job_service import list_jobs
from tests.support.ledger import LedgerDriver, completed, new_job, outcome_of, paid, unpaid
from visionq.contract import State
from visionq.ledger import LedgerOptions, OverQuota, Submitted
from visionq.names import PROVIDER_MODELS
from visionq.pricing.model_list import ListedModels
from visionq.settings import Settings
from worker.threads.maintenance.housekeeping import Models

if TYPE_CHECKING:
    from redis import Redis


@pytest.fixture
def driver(redis: Redis) -> LedgerDriver:
    return LedgerDriver(redis, LedgerOptions(tenant_parked_limit=3, tenant_models_limit=4))


def test_one_with_many_parked_jobs_submits_no_more(driver: LedgerDriver) -> None:
    """A tenant that may not pay fills the ledger up to its quota; others submit, and it goes on."""
    parked = []
    for _ in range(3):
        claim = driver.begin(new_job(tenant="poor"))
        assert driver.ledger.finish(
            claim, unpaid(outcome_of("parked insufficient_balance", claim.id))
        )
        parked.append(claim.id)
    (reply,) = driver.ledger.submit([new_job("more", tenant="poor")])
    assert isinstance(reply, OverQuota)
    error = reply.error()
    assert (error.code, error.http_status, error.retryable) == ("quota_exceeded", 429, True)
    assert "tenant poor has 3 parked jobs" in error.message
    driver.enter(new_job(tenant="other"))
    driver.ledger.cancel(parked[:1])
    driver.enter(new_job("more", tenant="poor"))
    (known,) = driver.ledger.submit([new_job("more", tenant="poor")])
    assert isinstance(known, Submitted), "a known job is returned at any quota"


def test_one_with_many_models_makes_no_more_lanes(driver: LedgerDriver) -> None:
    """Invented models make a bounded number of lanes; jobs of lanes that are there are taken."""
    jobs = [new_job(tenant="inventor", model=f"m{number}") for number in range(20)]
    replies = driver.ledger.submit(jobs)
    assert [isinstance(reply, Submitted) for reply in replies] == [True] * 4 + [False] * 16
    driver.enter(new_job(tenant="inventor", model="m3"), new_job(tenant="other", model="m9"))
    driver.ledger.cancel([jobs[0].id])
    driver.enter(new_job(tenant="inventor", model="m9"))


def test_a_list_costs_what_its_page_does(driver: LedgerDriver) -> None:
    """Jobs of a tenant are found without a look at those of others, in the order of the list."""
    redis = driver.redis
    ended = []
    for _ in range(2):
        claim = driver.begin(new_job(tenant="few"))
        assert driver.ledger.finish(claim, paid(completed(claim.id)))
        ended.append(claim.id)
        driver.clock.now += 1
    for _ in range(4):
        driver.enter(*(new_job(tenant="many") for _ in range(500)))
    waiting = driver.enter(*(new_job(tenant="few") for _ in range(3)))
    before = _commands(redis)
    jobs = list_jobs(redis, "few", None, 100)
    assert _commands(redis) - before < 2 * len(jobs) + 20
    assert [job.id for job in jobs] == [*waiting, *reversed(ended)]
    assert [job.id for job in list_jobs(redis, "few", State.QUEUED, 2)] == waiting[:2]
    assert [job.id for job in list_jobs(redis, "few", State.COMPLETED, 9)] == ended[::-1]
    assert list_jobs(redis, "nobody", None, 9) == []
    before = _commands(redis)
    assert len(list_jobs(redis, "many", None, 10)) == 10
    assert _commands(redis) - before < 40


def test_a_search_by_state_looks_at_states_alone(driver: LedgerDriver) -> None:
    """Of many jobs of which none is in the state asked for, only the states are fetched."""
    for _ in range(6):
        driver.enter(*(new_job(tenant="many") for _ in range(500)))
    redis = driver.redis
    list_jobs(redis, "many", State.WAITING, 1000)  # loads the script
    before = _bytes(redis)
    assert list_jobs(redis, "many", State.WAITING, 1000) == []
    assert _bytes(redis) - before < 3_000 * 60
    assert len(list_jobs(redis, "many", State.QUEUED, 1000)) == 1000


def _bytes(redis: Redis) -> int:
    """Return how many bytes Redis has been sent, and has sent."""
    told: dict[str, int] = redis.info("stats")
    return told["total_net_input_bytes"] + told["total_net_output_bytes"]


def _commands(redis: Redis) -> int:
    return int(redis.info("stats")["total_commands_processed"])


def test_unknown_models_are_refused(redis: Redis) -> None:
    """A model passes that has a price or that the provider lists, once a worker has noted that."""
    now = [0.0]
    models = KnownModels(redis, Settings(), lambda: now[0])
    models.check("gpt-6-luna")
    with pytest.raises(ApiError, match="our-own-model has no price here") as raised:
        models.check("our-own-model")
    assert (raised.value.status, raised.value.code) == (404, "model_not_found")
    Models(redis, lambda: ListedModels(frozenset({"our-own-model", "gpt-5.4-mini"}))).run()
    assert redis.smembers(PROVIDER_MODELS) == {b"our-own-model", b"gpt-5.4-mini"}
    with pytest.raises(ApiError):
        models.check("our-own-model")
    now[0] += 60
    models.check("our-own-model")
    Models(redis, lambda: ListedModels(frozenset({"never-asked-so-soon"}))).run()
    assert redis.scard(PROVIDER_MODELS) == 2
