"""How fast models are asked: permits, limits that are told, and limits that are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.ledger_kit import Desk, completed, new_job, paid
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

    from redis import Redis

    from visionq.ledger import Registration


@pytest.fixture
def desk(redis: Redis) -> Desk:
    return Desk(redis)


def limited(desk: Desk, **limits: float) -> None:
    desk.ledger.set_limits(OPERATOR, {"m1": Limits.model_validate(limits)})


def taken(desk: Desk, count: int) -> list[Claim]:
    """Bring as many of so many jobs into a worker's hands as the dispatcher takes."""
    desk.enter(*(new_job() for _ in range(count)))
    worker = desk.worker(slots=64)
    return [desk.claim(hint.id, worker) for hint in desk.hints()]


def rate_limit(desk: Desk) -> RateLimitStatus:
    (found,) = read_rate_limits(desk.redis, ["m1"])
    return found


def live(desk: Desk, seconds: int) -> list[str]:
    """Let time pass while a worker lives; returns the ids that were hinted."""
    hinted: list[str] = []
    for _ in range(seconds):
        desk.clock.now += 1
        desk.worker(slots=64)
        hinted += [hint.id for hint in desk.hints()]
    return hinted


def sent(desk: Desk, worker: Registration, seconds: float) -> Iterator[Claim]:
    """Let time pass; each job that is hinted then is sent as soon as it may be."""
    desk.clock.now += seconds
    desk.worker(slots=64)
    for hint in desk.hints():
        claim = desk.claim(hint.id, worker)
        while (said := desk.ledger.admit(claim)).verdict is Verdict.WAIT:
            desk.clock.now += said.wait
        yield claim


def refuse(desk: Desk, claim: Claim, **news: float) -> None:
    told = RateLimitFeedback(refused=True, **news)  # type: ignore[arg-type]
    waiting = Waiting(DelayReason.RATE_LIMITED, 1, counted=False)
    desk.ledger.finish(claim, Ending(waiting, Billing.RELEASED, rate_limit=told))


def refuse_some(desk: Desk, claims: Iterable[Claim], calls: int) -> int:
    """Refuse one call in thirteen; returns how many there have been."""
    for claim in claims:
        desk.clock.now += 0.001
        calls += 1
        if calls % 13:
            desk.ledger.finish(claim, paid(completed(claim.id)))
        else:
            refuse(desk, claim)
    return calls


def test_no_more_is_taken_than_may_soon_be_asked(desk: Desk) -> None:
    """Of a backlog only what can be sent within two seconds leaves its lane, whatever is free."""
    limited(desk, requests_per_minute=60)
    assert len(taken(desk, 50)) == 2
    assert desk.pass_time(1, step=0.2) == []
    assert rate_limit(desk).at_hand == 2


def test_calls_are_spaced(desk: Desk) -> None:
    """The second call waits for its permit, then goes; nobody else gets its place."""
    limited(desk, requests_per_minute=60)
    first, second = taken(desk, 2)
    assert desk.ledger.admit(first).verdict is Verdict.GO
    admission = desk.ledger.admit(second)
    assert admission.verdict is Verdict.WAIT
    assert 1.0 <= admission.wait < 1.05
    assert desk.ledger.admit(second).wait == admission.wait
    desk.clock.now += admission.wait
    assert desk.ledger.admit(second).verdict is Verdict.GO


def test_a_cancel_gives_its_place_in_hand_back(desk: Desk) -> None:
    """A job that is cancelled on its way to the call is at hand no more."""
    limited(desk, requests_per_minute=60)
    first, second = taken(desk, 2)
    desk.ledger.cancel([first.id])
    desk.ledger.finish(second, Ending(Waiting(DelayReason.RATE_LIMITED, 1, counted=False)))
    assert rate_limit(desk).at_hand == 0


def test_the_place_of_a_cancelled_job_is_free(desk: Desk) -> None:
    """Who comes after jobs that went with their permits asks when the model may be asked."""
    limited(desk, requests_per_minute=6)
    first, *_ = taken(desk, 10)
    assert desk.ledger.admit(first).verdict is Verdict.GO
    for seconds in (9, 1, 1, 1):
        (job_id, *_) = live(desk, seconds)
        claim = desk.claim(job_id, desk.worker(slots=64))
        admission = desk.ledger.admit(claim)
        assert admission.verdict is Verdict.WAIT, admission
        assert admission.wait < 1.5
        desk.ledger.cancel([claim.id])


def test_jobs_that_come_too_early_do_not_come_again_at_once(desk: Desk) -> None:
    """A job sent back for the pace stays in its lane until it may wait in a worker's hands."""
    limited(desk, tokens_per_minute=6000)
    first, second, *_ = taken(desk, 5)
    assert desk.ledger.admit(first, tokens=2000).verdict is Verdict.GO
    assert desk.ledger.admit(second, tokens=2000).verdict is Verdict.PARK
    assert live(desk, 10) == []
    assert second.id in live(desk, 10)


def test_concurrency(desk: Desk) -> None:
    """No more calls are out than may be at a time."""
    limited(desk, concurrency=2)
    claims = taken(desk, 10)
    assert len(claims) == 3  # one ahead
    verdicts = [desk.ledger.admit(claim).verdict for claim in claims]
    assert verdicts == [Verdict.GO, Verdict.GO, Verdict.WAIT]
    desk.ledger.finish(claims[0], paid(completed(claims[0].id)))
    assert desk.ledger.admit(claims[2]).verdict is Verdict.GO


def test_tokens_are_settled_by_usage(desk: Desk) -> None:
    """What a call was forecast to use is taken at once, and given back when less was counted."""
    limited(desk, tokens_per_minute=6000)
    first, second = taken(desk, 2)
    assert desk.ledger.admit(first, tokens=2000).verdict is Verdict.GO
    assert desk.ledger.admit(second, tokens=2000) == Admission(
        Verdict.PARK, reason=DelayReason.RATE_LIMITED
    )
    usage = RateLimitFeedback(tokens=100)
    desk.ledger.finish(first, Ending(completed(first.id), Billing.SETTLED, 5, rate_limit=usage))
    assert (rate_limit(desk).next_at.timestamp() - desk.clock.now) < 2


def test_headers_hold_at_once(desk: Desk) -> None:
    """A limit that an answer tells is kept from then on; the next one that is told replaces it."""
    (claim,) = taken(desk, 1)
    assert read_rate_limits(desk.redis, ["m1"]) == ()
    desk.ledger.admit(claim)
    news = RateLimitFeedback(requests_limit=300)
    desk.ledger.finish(claim, Ending(completed(claim.id), Billing.SETTLED, 5, rate_limit=news))
    assert (rate_limit(desk).requests_per_minute, rate_limit(desk).source) == (291.0, "told")


def test_one_cut_for_one_event(desk: Desk) -> None:
    """Of calls that were out together the first that is refused cuts the rate, and no other."""
    claims = taken(desk, 4)
    for claim in claims:
        assert desk.ledger.admit(claim).verdict is Verdict.GO
    desk.clock.now += 0.1
    refuse(desk, claims[0])
    rate = rate_limit(desk).requests_per_minute
    assert rate_limit(desk).source == "learned"
    for claim in claims[1:]:
        refuse(desk, claim)
    assert rate_limit(desk).requests_per_minute == rate


def test_success_restores_the_rate(desk: Desk) -> None:
    """A rate that was cut comes back with the calls that succeed, and goes beyond."""
    (claim,) = taken(desk, 1)
    desk.ledger.admit(claim)
    refuse(desk, claim)
    cut = rate_limit(desk).requests_per_minute
    assert cut
    rates = []
    worker = desk.worker(slots=64)
    desk.enter(*(new_job() for _ in range(100)))
    for _ in range(300):
        for claim in sent(desk, worker, seconds=1):
            desk.ledger.finish(claim, paid(completed(claim.id)))
        rates.append(rate_limit(desk).requests_per_minute or 0)
    assert rates == sorted(rates)
    assert rates[-1] > cut * 1.3


def test_a_model_that_refuses_now_and_then_is_not_asked_ever_less(desk: Desk) -> None:
    """One refusal in thirteen calls, at any rate, leaves most of the rate that was learned."""
    calls, rates = 0, []
    worker = desk.worker(slots=64)
    desk.enter(*(new_job() for _ in range(1_500)))
    while calls < 1_400:
        calls = refuse_some(desk, sent(desk, worker, seconds=0.5), calls)
        rates += [
            learned.requests_per_minute or 0 for learned in read_rate_limits(desk.redis, ["m1"])
        ]
    assert rates[-1] > 0.7 * rates[0]


def test_a_model_that_refuses_now_and_then_is_asked_more(desk: Desk) -> None:
    """A rate that was low when one call in thirteen began to be refused does not stay low."""
    (first,) = taken(desk, 1)
    desk.ledger.admit(first)
    refuse(desk, first)
    calls, rates = 0, []
    worker = desk.worker(slots=64)
    desk.enter(*(new_job() for _ in range(1_500)))
    while calls < 1_400 and (learned := read_rate_limits(desk.redis, ["m1"])):
        rates.append(learned[0].requests_per_minute or 0)
        calls = refuse_some(desk, sent(desk, worker, seconds=1), calls)
    assert rates[0] < 100
    assert rates[-1] > 200
    assert calls < 1_400, "no rate holds it back any more"


def test_a_limit_that_nobody_tells_is_tried_seldom(desk: Desk) -> None:
    """A model that bears 300 calls a minute is asked nearly that, and refuses few of them."""
    limit, allowed, last = 300 / 60, 5.0, desk.clock.now
    ends: list[float] = []
    worker = desk.worker(slots=64)
    desk.enter(*(new_job() for _ in range(4_000)))
    while len(ends) < 3_500:
        for claim in sent(desk, worker, seconds=1):
            allowed = min(limit, allowed + (desk.clock.now - last) * limit)
            last = desk.clock.now
            ends.append(last if allowed >= 1 else 0)
            if allowed >= 1:
                allowed -= 1
                desk.ledger.finish(claim, paid(completed(claim.id)))
            else:
                refuse(desk, claim)
    settled = ends[1_000:]
    borne = [end for end in settled if end]
    assert len(borne) > 0.95 * len(settled)
    assert len(borne) > 0.85 * limit * (borne[-1] - borne[0])


def test_a_long_pause_is_not_waited_for_in_the_slot(desk: Desk) -> None:
    """After `Retry-After: 30` jobs go back to their lane, and are told why, until it is over."""
    first, second, third = taken(desk, 3)
    assert desk.ledger.admit(first).verdict is Verdict.GO
    refuse(desk, first, pause=30)
    assert desk.ledger.admit(second) == Admission(Verdict.PARK, reason=DelayReason.RATE_LIMITED)
    assert desk.ledger.admit(third).reason == "rate_limited"
    assert live(desk, 20) == []
    (view,) = job_views(desk.redis, [second.id])
    assert view
    assert (str(view.state), view.reason) == ("queued", "rate_limited")
    assert "m1" in [found.model for found in overview(desk.redis).paces]
    assert len(live(desk, 15)) >= 2


def test_a_hint_is_refused_in_a_long_pause(desk: Desk) -> None:
    """What is hinted at when a pause begins is not worked on in vain."""
    limited(desk, requests_per_minute=600)
    desk.enter(*(new_job() for _ in range(2)))
    worker = desk.worker()
    one, other = desk.hints()
    claim = desk.claim(one.id, worker)
    desk.ledger.admit(claim)
    refuse(desk, claim, pause=30)
    assert getattr(desk.ledger.claim(other.id, "t", worker), "reason", "") == "rate_limited"
    assert str(desk.state(other.id)) == "queued"


def test_whose_word_holds(desk: Desk) -> None:
    """The operator goes before the environment, a model's own limits before those of all."""
    desk.ledger.set_limits(ENVIRONMENT, {"*": Limits(requests_per_minute=100)})
    assert rate_limit(desk).requests_per_minute == 97.0
    desk.ledger.set_limits(ENVIRONMENT, {"m1": Limits(requests_per_minute=200)})
    assert rate_limit(desk).requests_per_minute == 194.0
    desk.ledger.set_limits(OPERATOR, {"m1": Limits(requests_per_minute=50)})
    assert rate_limit(desk).requests_per_minute == 48.5
    desk.ledger.set_limits(OPERATOR, {"m1": None})
    assert rate_limit(desk).requests_per_minute == 194.0
    assert read_limits(desk.redis)[OPERATOR] == {}


def test_a_job_that_is_always_refused_speaks_for_itself(desk: Desk) -> None:
    """A call that is refused again and again does not stop the model for the others."""
    limited(desk, requests_per_minute=6000)
    rates: list[float | None] = []
    desk.enter(new_job())
    for _ in range(8):
        (hinted,) = live(desk, 4)
        claim = desk.claim(hinted, desk.worker(slots=64))
        desk.ledger.admit(claim)
        desk.clock.now += 0.01
        refuse(desk, claim)
        rates.append(rate_limit(desk).requests_per_minute)
    assert len(set(rates[2:])) == 1
