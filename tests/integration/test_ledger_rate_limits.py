"""How fast models are asked: permits, limits that are announced, and limits that are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.ledger import LedgerDriver, completed, new_job, paid
from visionq.contract import DelayReason
from visionq.contract.limits import Limits
from visionq.ledger import Admission, Billing, Claim, Ending, RateLimitFeedback, Verdict, Waiting
from visionq.ledger.overview import overview
from visionq.ledger.rate_limits import (
    ENVIRONMENT,
    OPERATOR,
    RateLimitStatus,
    read_limits,
    read_rate_limits,
)
from visionq.ledger.views import job_views

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from visionq.ledger import Registration


def limited(driver: LedgerDriver, **limits: float) -> None:
    driver.ledger.set_limits(OPERATOR, {"m1": Limits.model_validate(limits)})


def taken(driver: LedgerDriver, count: int) -> list[Claim]:
    """Enter jobs, and claim as many as the dispatcher takes."""
    driver.enter(*(new_job() for _ in range(count)))
    worker = driver.worker(slots=64)
    return [driver.claim(hint.id, worker) for hint in driver.hints()]


def rate_limit(driver: LedgerDriver) -> RateLimitStatus:
    (found,) = read_rate_limits(driver.redis, ["m1"])
    return found


def sent(driver: LedgerDriver, worker: Registration, seconds: float) -> Iterator[Claim]:
    """Let time pass; each job that is hinted then is sent as soon as it may be."""
    driver.clock.now += seconds
    driver.worker(slots=64)
    for hint in driver.hints():
        claim = driver.claim(hint.id, worker)
        while (said := driver.ledger.admit(claim)).verdict is Verdict.WAIT:
            driver.clock.now += said.wait
        yield claim


def refuse(driver: LedgerDriver, claim: Claim, **news: float) -> None:
    told = RateLimitFeedback(refused=True, **news)  # type: ignore[arg-type]
    waiting = Waiting(DelayReason.RATE_LIMITED, 1, counted=False)
    driver.ledger.finish(claim, Ending(waiting, Billing.RELEASED, rate_limit=told))


def refuse_some(driver: LedgerDriver, claims: Iterable[Claim], calls: int) -> int:
    """Refuse one call in thirteen; returns how many there have been."""
    for claim in claims:
        driver.clock.now += 0.001
        calls += 1
        if calls % 13:
            driver.ledger.finish(claim, paid(completed(claim.id)))
        else:
            refuse(driver, claim)
    return calls


def test_no_more_is_taken_than_may_soon_be_asked(driver: LedgerDriver) -> None:
    """Only the part of a backlog that can be sent within two seconds leaves its lane."""
    limited(driver, requests_per_minute=60)
    assert len(taken(driver, 50)) == 2
    assert driver.pass_time(1, step=0.2) == []
    assert rate_limit(driver).at_hand == 2


def test_calls_are_spaced(driver: LedgerDriver) -> None:
    """The second call waits for its permit, then goes; nobody else gets its place."""
    limited(driver, requests_per_minute=60)
    first, second = taken(driver, 2)
    assert driver.ledger.admit(first).verdict is Verdict.GO
    admission = driver.ledger.admit(second)
    assert admission.verdict is Verdict.WAIT
    assert 1.0 <= admission.wait < 1.05
    assert driver.ledger.admit(second).wait == admission.wait
    driver.clock.now += admission.wait
    assert driver.ledger.admit(second).verdict is Verdict.GO


def test_a_cancel_gives_its_place_in_hand_back(driver: LedgerDriver) -> None:
    """A job that is cancelled on its way to the call is no longer counted as unsent."""
    limited(driver, requests_per_minute=60)
    first, second = taken(driver, 2)
    driver.ledger.cancel([first.id])
    driver.ledger.finish(second, Ending(Waiting(DelayReason.RATE_LIMITED, 1, counted=False)))
    assert rate_limit(driver).at_hand == 0


def test_the_place_of_a_cancelled_job_is_free(driver: LedgerDriver) -> None:
    """A job that follows others with permits asks when the model may be asked."""
    limited(driver, requests_per_minute=6)
    first, *_ = taken(driver, 10)
    assert driver.ledger.admit(first).verdict is Verdict.GO
    for seconds in (9, 1, 1, 1):
        (job_id, *_) = driver.live(seconds)
        claim = driver.claim(job_id, driver.worker(slots=64))
        admission = driver.ledger.admit(claim)
        assert admission.verdict is Verdict.WAIT, admission
        assert admission.wait < 1.5
        driver.ledger.cancel([claim.id])


def test_jobs_that_come_too_early_do_not_come_again_at_once(driver: LedgerDriver) -> None:
    """A job sent back for the rate limit stays in its lane until it may wait in a worker."""
    limited(driver, tokens_per_minute=6000)
    first, second, *_ = taken(driver, 5)
    assert driver.ledger.admit(first, tokens=2000).verdict is Verdict.GO
    assert driver.ledger.admit(second, tokens=2000).verdict is Verdict.PARK
    assert driver.live(10) == []
    assert second.id in driver.live(10)


def test_concurrency(driver: LedgerDriver) -> None:
    """No more calls are out than may be at a time."""
    limited(driver, concurrency=2)
    claims = taken(driver, 10)
    assert len(claims) == 3  # one ahead
    verdicts = [driver.ledger.admit(claim).verdict for claim in claims]
    assert verdicts == [Verdict.GO, Verdict.GO, Verdict.WAIT]
    driver.ledger.finish(claims[0], paid(completed(claims[0].id)))
    assert driver.ledger.admit(claims[2]).verdict is Verdict.GO


def test_tokens_are_settled_by_usage(driver: LedgerDriver) -> None:
    """A call's forecast is taken at once, and given back when less was counted."""
    limited(driver, tokens_per_minute=6000)
    first, second = taken(driver, 2)
    assert driver.ledger.admit(first, tokens=2000).verdict is Verdict.GO
    assert driver.ledger.admit(second, tokens=2000) == Admission(
        Verdict.PARK, reason=DelayReason.RATE_LIMITED
    )
    usage = RateLimitFeedback(tokens=100)
    driver.ledger.finish(first, Ending(completed(first.id), Billing.SETTLED, 5, rate_limit=usage))
    assert (rate_limit(driver).next_at.timestamp() - driver.clock.now) < 2


def test_headers_hold_at_once(driver: LedgerDriver) -> None:
    """A limit that an answer announces is kept from then on; the next one replaces it."""
    (claim,) = taken(driver, 1)
    assert read_rate_limits(driver.redis, ["m1"]) == ()
    driver.ledger.admit(claim)
    news = RateLimitFeedback(requests_limit=300)
    driver.ledger.finish(claim, Ending(completed(claim.id), Billing.SETTLED, 5, rate_limit=news))
    assert (rate_limit(driver).requests_per_minute, rate_limit(driver).source) == (291.0, "told")


def test_one_cut_for_one_event(driver: LedgerDriver) -> None:
    """Of calls that were out together the first that is refused cuts the rate, and no other."""
    claims = taken(driver, 4)
    for claim in claims:
        assert driver.ledger.admit(claim).verdict is Verdict.GO
    driver.clock.now += 0.1
    refuse(driver, claims[0])
    rate = rate_limit(driver).requests_per_minute
    assert rate_limit(driver).source == "learned"
    for claim in claims[1:]:
        refuse(driver, claim)
    assert rate_limit(driver).requests_per_minute == rate


def test_success_restores_the_rate(driver: LedgerDriver) -> None:
    """A rate that was cut comes back with the calls that succeed, and goes beyond."""
    (claim,) = taken(driver, 1)
    driver.ledger.admit(claim)
    refuse(driver, claim)
    cut = rate_limit(driver).requests_per_minute
    assert cut
    rates = []
    worker = driver.worker(slots=64)
    driver.enter(*(new_job() for _ in range(100)))
    for _ in range(300):
        for claim in sent(driver, worker, seconds=1):
            driver.ledger.finish(claim, paid(completed(claim.id)))
        rates.append(rate_limit(driver).requests_per_minute or 0)
    assert rates == sorted(rates)
    assert rates[-1] > cut * 1.3


def test_a_model_that_refuses_now_and_then_is_not_asked_ever_less(driver: LedgerDriver) -> None:
    """One refusal in thirteen calls, at any rate, leaves the rate that was learned."""
    calls, began = 0, 0.0
    worker = driver.worker(slots=64)
    driver.enter(*(new_job() for _ in range(1_500)))
    while calls < 1_400:
        calls = refuse_some(driver, sent(driver, worker, seconds=0.5), calls)
        if calls < 100:  # the first refusal has limited the rate
            (learned,) = read_rate_limits(driver.redis, ["m1"])
        elif calls > 700:
            began = began or driver.clock.now
    assert learned.requests_per_minute
    assert (1_400 - 700) * 60 / (driver.clock.now - began) > learned.requests_per_minute


def test_a_model_that_refuses_now_and_then_is_asked_more(driver: LedgerDriver) -> None:
    """A rate that was low when one call in thirteen began to be refused does not stay low."""
    (first,) = taken(driver, 1)
    driver.ledger.admit(first)
    refuse(driver, first)
    calls, rates = 0, []
    worker = driver.worker(slots=64)
    driver.enter(*(new_job() for _ in range(1_500)))
    while calls < 1_400 and (learned := read_rate_limits(driver.redis, ["m1"])):
        rates.append(learned[0].requests_per_minute or 0)
        calls = refuse_some(driver, sent(driver, worker, seconds=1), calls)
    assert rates[0] < 100
    assert rates[-1] > 500


def test_a_limit_that_nobody_tells_is_tried_seldom(driver: LedgerDriver) -> None:
    """A model that bears 300 calls a minute is asked nearly that, and refuses few of them."""
    limit, allowed, last = 300 / 60, 5.0, driver.clock.now
    ends: list[float] = []
    worker = driver.worker(slots=64)
    driver.enter(*(new_job() for _ in range(4_000)))
    while len(ends) < 3_500:
        for claim in sent(driver, worker, seconds=1):
            allowed = min(limit, allowed + (driver.clock.now - last) * limit)
            last = driver.clock.now
            ends.append(last if allowed >= 1 else 0)
            if allowed >= 1:
                allowed -= 1
                driver.ledger.finish(claim, paid(completed(claim.id)))
            else:
                refuse(driver, claim)
    settled = ends[1_000:]
    borne = [end for end in settled if end]
    assert len(borne) > 0.95 * len(settled)
    assert len(borne) > 0.85 * limit * (borne[-1] - borne[0])


def test_a_long_pause_is_not_waited_for_in_the_slot(driver: LedgerDriver) -> None:
    """After `Retry-After: 30` jobs go back to their lane, with the reason, until it is over."""
    first, second, third = taken(driver, 3)
    assert driver.ledger.admit(first).verdict is Verdict.GO
    refuse(driver, first, pause=30)
    assert driver.ledger.admit(second) == Admission(Verdict.PARK, reason=DelayReason.RATE_LIMITED)
    assert driver.ledger.admit(third).reason == "rate_limited"
    assert driver.live(20) == []
    (view,) = job_views(driver.redis, [second.id])
    assert view
    assert (str(view.state), view.reason) == ("queued", "rate_limited")
    assert "m1" in [found.model for found in overview(driver.redis).paces]
    assert len(driver.live(15)) >= 2


def test_a_hint_is_refused_in_a_long_pause(driver: LedgerDriver) -> None:
    """A job that is hinted when a pause begins is not worked on in vain."""
    limited(driver, requests_per_minute=600)
    driver.enter(*(new_job() for _ in range(2)))
    worker = driver.worker()
    one, other = driver.hints()
    claim = driver.claim(one.id, worker)
    driver.ledger.admit(claim)
    refuse(driver, claim, pause=30)
    assert getattr(driver.ledger.claim(other.id, "t", worker), "reason", "") == "rate_limited"
    assert str(driver.state(other.id)) == "queued"


def test_whose_word_holds(driver: LedgerDriver) -> None:
    """The operator goes before the environment, a model's own limits before those of all."""
    driver.ledger.set_limits(ENVIRONMENT, {"*": Limits(requests_per_minute=100)})
    assert rate_limit(driver).requests_per_minute == 97.0
    driver.ledger.set_limits(ENVIRONMENT, {"m1": Limits(requests_per_minute=200)})
    assert rate_limit(driver).requests_per_minute == 194.0
    driver.ledger.set_limits(OPERATOR, {"m1": Limits(requests_per_minute=50)})
    assert rate_limit(driver).requests_per_minute == 48.5
    driver.ledger.set_limits(OPERATOR, {"m1": None})
    assert rate_limit(driver).requests_per_minute == 194.0
    assert read_limits(driver.redis)[OPERATOR] == {}


def test_a_job_that_is_always_refused_speaks_for_itself(driver: LedgerDriver) -> None:
    """A call that is refused again and again does not stop the model for the others."""
    limited(driver, requests_per_minute=6000)
    rates: list[float | None] = []
    driver.enter(new_job())
    for _ in range(8):
        (hinted,) = driver.live(4)
        claim = driver.claim(hinted, driver.worker(slots=64))
        driver.ledger.admit(claim)
        driver.clock.now += 0.01
        refuse(driver, claim)
        rates.append(rate_limit(driver).requests_per_minute)
    assert len(set(rates[2:])) == 1
