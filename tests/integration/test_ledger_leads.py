"""Jobs that ask the same at the same time: one calls, the others follow, and none is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import (
    LedgerDriver,
    completed,
    moment,
    new_job,
    outcome_of,
    paid,
    unclear,
    unpaid,
)
from visionq.contract import State
from visionq.ledger import BudgetScope, Claim, Verdict
from visionq.names import COUNTS, FOLLOWERS, JOB, LEADER, QUEUE_INTERACTIVE, WAKING
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from redis import Redis

KEY = "same"
MANY = 50_000
#: Followers that one script wakes at most.
MOST_WOKEN = 100
#: Milliseconds for which one script may keep Redis from everybody else.
LONGEST = 5.0


def _ask(driver: LedgerDriver, claim: Claim, key: str = KEY) -> Verdict:
    return driver.ledger.admit(claim, cache_key=key, reserve=900).verdict


def _same(driver: LedgerDriver, count: int, **fields: Any) -> tuple[Claim, list[Claim]]:
    """Bring several jobs to the same question: one leads, the others follow."""
    worker = driver.worker(slots=count)
    driver.enter(*(new_job(f"j{number}", **fields) for number in range(count)))
    lead, *others = [driver.claim(hint.id, worker) for hint in driver.hints()]
    assert _ask(driver, lead) is Verdict.GO
    for other in others:
        assert _ask(driver, other) is Verdict.FOLLOW
    return lead, others


def _in_lane(driver: LedgerDriver, lane: str = f"{QUEUE_INTERACTIVE}:default:m1") -> list[str]:
    items: list[Any] = driver.redis.lrange(f"visionq:lane:{lane}", 0, -1)
    return [item.decode() for item in items]


def test_followers_give_their_slots_back(driver: LedgerDriver) -> None:
    """A follower waits outside the workers, while its leader is out, without a timer of its own."""
    lead, others = _same(driver, 5)
    assert driver.redis.hvals("visionq:pool-busy") == [b"1"]
    assert {driver.state(other.id) for other in others} == {State.WAITING}
    assert driver.pass_time(9) == []
    assert driver.redis.get(LEADER + KEY) == lead.id.encode()
    assert _ask(driver, others[0]) is Verdict.REFUSED, "the reply was lost, and it asks again"


def test_followers_get_the_answer(driver: LedgerDriver) -> None:
    """The answer of the lead is everybody's: one call, and the others cost nothing."""
    lead, others = _same(driver, 5)
    driver.ledger.finish(lead, paid(completed(lead.id, cache_key=KEY)))
    worker = driver.worker()
    claims = [driver.claim(hint.id, worker) for hint in driver.hints()]
    assert [claim.id for claim in claims] == [other.id for other in others], "in their order"
    for claim in claims:
        assert _ask(driver, claim) is Verdict.ANSWER
        assert driver.ledger.finish(claim, unpaid(completed(claim.id, saved=600)))
    assert driver.money() == {"settled": 700, "saved": 4 * 600}
    assert not driver.redis.exists(LEADER + KEY, FOLLOWERS + KEY, WAKING)


ENDS = ("failed", "waiting 20", "parked key_rejected", "held gate", "held model:m1", "retrying 9")


@pytest.mark.parametrize("kind", ENDS)
def test_lead_that_ends_without_an_answer(driver: LedgerDriver, kind: str) -> None:
    """However the leader's call ends, the followers are woken, and one of them leads."""
    lead, others = _same(driver, 4)
    driver.ledger.finish(lead, unpaid(outcome_of(kind, lead.id)))
    driver.hints()
    assert not driver.redis.exists(FOLLOWERS + KEY, WAKING, LEADER + KEY)
    states = {driver.redis.hget(JOB + other.id, "state") for other in others}
    assert states <= {b"queued", b"hinted"}


def test_lead_of_unknown_billing(driver: LedgerDriver) -> None:
    """So they are when nobody knows how it ended, and when its worker died."""
    lead, others = _same(driver, 3)
    driver.ledger.finish(lead, unclear(outcome_of("parked billing_unknown", lead.id)))
    worker = driver.worker()
    (first, second) = [driver.claim(hint.id, worker) for hint in driver.hints()]
    assert (_ask(driver, first), _ask(driver, second)) == (Verdict.GO, Verdict.FOLLOW)
    driver.pass_time(11)
    assert driver.redis.hget(JOB + second.id, "state") == b"queued"
    assert {first.id, second.id} == {other.id for other in others}


def test_cancelled_lead(driver: LedgerDriver) -> None:
    """A cancelled lead whose call is out still brings the answer; if it does not, they go on."""
    lead, others = _same(driver, 3)
    driver.ledger.cancel([lead.id])
    driver.hints()
    assert driver.state(others[0].id) is State.WAITING
    driver.pass_time(11)
    assert driver.redis.hget(JOB + others[0].id, "state") == b"queued"


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_late_answer_of_a_lead(driver: LedgerDriver, *, is_cancelled: bool) -> None:
    """The paid answer of a lead that was cancelled, or given up, is what all others get."""
    lead, others = _same(driver, 3)
    if is_cancelled:
        driver.ledger.cancel([lead.id])
    else:
        driver.pass_time(11)
    assert not driver.ledger.finish(lead, paid(completed(lead.id, cache_key=KEY)))
    worker = driver.worker("w2")
    claims = [driver.claim(hint.id, worker) for hint in driver.hints()]
    asking = len(others) + (not is_cancelled)
    assert [_ask(driver, claim) for claim in claims] == [Verdict.ANSWER] * asking
    assert driver.money() == {"settled": 700}


def test_cancelled_follower(driver: LedgerDriver) -> None:
    """A cancelled follower is passed over, also when its id has come back meanwhile."""
    lead, others = _same(driver, 3)
    gone = others[0].id
    driver.ledger.cancel([gone])
    driver.redis.delete(JOB + gone, f"celery-task-meta-{gone}")
    driver.enter(new_job(gone, prompt="Something else?"))
    driver.ledger.finish(lead, paid(completed(lead.id, cache_key=KEY)))
    driver.ledger.dispatch(limit=1)
    assert _in_lane(driver).count(gone) <= 1
    assert driver.redis.hget(COUNTS, "waiting") == b"0"


def test_deadline_of_a_follower(driver: LedgerDriver) -> None:
    """A follower whose deadline passes does not wait on; it costs nothing."""
    lead, others = _same(driver, 2, deadline=moment(driver.clock.now + 5))
    worker = driver.registration(slots=2)
    late: tuple[str, ...] = ()
    for _ in range(4):
        driver.clock.now += 2
        driver.ledger.renew(worker, [(lead.id, lead.token)])
        found = driver.ledger.dispatch()
        late += found.expired
        for hint in found.hints:
            assert _ask(driver, driver.claim(hint.id, worker)) is Verdict.EXPIRED
            late += (hint.id,)
    assert others[0].id in late


def test_refresh_and_off(driver: LedgerDriver) -> None:
    """`refresh` and `off` follow nobody; a refresh beside a lead leaves the lead its followers."""
    lead, others = _same(driver, 2)
    worker = driver.worker(slots=8)
    driver.enter(new_job("fresh", reuse="refresh"), new_job("alone", reuse="off"))
    fresh, alone = (driver.claim(hint.id, worker) for hint in driver.hints())
    assert (_ask(driver, fresh), _ask(driver, alone, "")) == (Verdict.GO, Verdict.GO)
    driver.ledger.finish(fresh, unpaid(outcome_of("failed", fresh.id)))
    driver.ledger.finish(alone, unpaid(outcome_of("failed", alone.id)))
    driver.hints()
    assert driver.state(others[0].id) is State.WAITING
    assert driver.redis.get(LEADER + KEY) == lead.id.encode()
    driver.enter(new_job("third"))
    (third,) = (driver.claim(hint.id, worker) for hint in driver.hints())
    assert _ask(driver, third) is Verdict.FOLLOW, "it is asked once, though a refresh came between"


def test_refresh_leads(driver: LedgerDriver) -> None:
    """Without a leader the job that refreshes leads, and its new answer is everybody's."""
    driver.redis.set(f"visionq:answer:{KEY}", completed("old", "old").result.to_json())
    claim = driver.begin(new_job(reuse="refresh"))
    assert _ask(driver, claim) is Verdict.GO
    assert driver.redis.get(LEADER + KEY) == claim.id.encode()


def test_new_lead_keeps_the_others_waiting(driver: LedgerDriver) -> None:
    """Once one of those woken leads, the rest is not woken only to follow it again."""
    lead, others = _same(driver, 250)
    driver.worker(slots=1)
    driver.ledger.finish(lead, unpaid(outcome_of("failed", lead.id)))
    (hint,) = driver.hints()
    assert driver.redis.llen(FOLLOWERS + KEY) == len(others) - MOST_WOKEN
    assert _ask(driver, driver.claim(hint.id, driver.registration())) is Verdict.GO
    for _ in range(5):
        driver.hints()
    assert driver.redis.llen(FOLLOWERS + KEY) == len(others) - MOST_WOKEN
    assert not driver.redis.exists(WAKING)


def test_one_slot_and_a_lead_that_fails_twice(driver: LedgerDriver) -> None:
    """A fleet of one slot finishes equal jobs by the hundred though the lead fails twice."""
    driver.enter(*(new_job() for _ in range(300)))
    worker = driver.worker(slots=1)
    calls = steps = 0
    while driver.redis.hget(COUNTS, "completed") != b"300":
        steps += 1
        assert steps < 5_000, driver.redis.hgetall(COUNTS)
        driver.clock.now += 0.5
        driver.ledger.renew(worker)
        for hint in driver.hints():
            claim = driver.ledger.claim(hint.id, f"t{steps}-{hint.id}", worker)
            verdict = _ask(driver, claim) if isinstance(claim, Claim) else None
            if not isinstance(claim, Claim) or verdict is Verdict.FOLLOW:
                continue
            calls += verdict is Verdict.GO
            answer = completed(claim.id, cache_key=KEY)
            if verdict is Verdict.ANSWER:
                driver.ledger.finish(claim, unpaid(answer))
            elif calls <= 2:
                driver.ledger.finish(claim, unpaid(outcome_of("retrying 5", claim.id)))
            else:
                driver.ledger.finish(claim, paid(answer))
    assert calls == 3


def _follow_many(redis: Redis, count: int, lane: str) -> None:
    """Let many follow past the ledger, which would take minutes."""
    redis.eval(
        """
        for i = 1, ARGV[1] do
          redis.call('RPUSH', KEYS[1], 'f' .. i)
          redis.call('HSET', ARGV[2] .. 'f' .. i, 'state', 'waiting', 'reason', 'follows',
            'lane', ARGV[3], 'pictures', 1, 'document', ARGV[4])
        end
        redis.call('HINCRBY', ARGV[5], 'waiting', ARGV[1])
        """,
        1,
        FOLLOWERS + KEY,
        count,
        JOB,
        lane,
        new_job().document.to_compact_json(),
        COUNTS,
    )


def test_a_lead_that_waits_for_money_leads_nobody(driver: LedgerDriver) -> None:
    """Its answer needs a repair, but its batch can't pay: others need not wait for that."""
    driver.ledger.set_budget(BudgetScope.batch("b1"), rubles(1000))
    worker = driver.worker(slots=8)
    driver.enter(new_job("lead", batch_id="b1"), new_job("other"))
    lead, other = (driver.claim(hint.id, worker) for hint in driver.hints())
    assert (_ask(driver, lead), _ask(driver, other)) == (Verdict.GO, Verdict.FOLLOW)
    driver.ledger.finish(lead, paid(outcome_of("mending", "lead", "almost"), 700))
    (again,) = (driver.claim(hint.id, worker) for hint in driver.hints())
    assert _ask(driver, again) is Verdict.PARK
    assert driver.state("lead") is State.PARKED
    (hint,) = driver.hints()
    answering = driver.claim(hint.id, worker)
    assert _ask(driver, answering) is Verdict.GO
    driver.ledger.finish(answering, paid(completed("other", cache_key=KEY)))
    driver.ledger.set_budget(BudgetScope.batch("b1"), None)
    (hint,) = driver.hints()
    assert _ask(driver, driver.claim(hint.id, worker)) is Verdict.ANSWER


def test_many_followers_block_nobody(driver: LedgerDriver) -> None:
    """50,000 followers are woken a few in each script, and none of these takes long."""
    lead = driver.begin()
    assert _ask(driver, lead) is Verdict.GO
    _follow_many(driver.redis, MANY, f"{QUEUE_INTERACTIVE}:default:m1")
    driver.worker(slots=16)
    driver.redis.delete("visionq:wake")
    driver.redis.config_resetstat()
    driver.ledger.finish(lead, paid(completed(lead.id, cache_key=KEY)))
    longest = [_script_time(driver.redis)]
    while left := driver.redis.llen(FOLLOWERS + KEY):
        driver.redis.delete("visionq:wake")
        driver.redis.config_resetstat()
        driver.ledger.dispatch()
        assert left - driver.redis.llen(FOLLOWERS + KEY) == MOST_WOKEN
        assert sum(_calls(driver.redis, "lpush", "rpush", "lpop")) < 200
        longest.append(_script_time(driver.redis))
        is_over = left <= MOST_WOKEN
        assert is_over or driver.redis.llen("visionq:wake") == 1, "the next do not wait for a tick"
    assert len(longest) == 1 + MANY // MOST_WOKEN
    assert driver.redis.hget(COUNTS, "waiting") == b"0"
    assert not driver.redis.exists(WAKING)
    median = sorted(longest)[len(longest) // 2]
    print(f"a script: {median} ms, at most {max(longest)} ms")  # noqa: T201  # figures for `-s`
    assert median < LONGEST, "others on this machine may hold up some, not half"


def _script_time(redis: Redis) -> float:
    """Return milliseconds in scripts since the statistics began."""
    return float(redis.info("commandstats")["cmdstat_evalsha"]["usec"]) / 1000


def _calls(redis: Redis, *commands: str) -> list[int]:
    statistics = redis.info("commandstats")
    return [int(statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in commands]


def test_many_leads_lapse_at_once(driver: LedgerDriver) -> None:
    """However many leads die at once, one script wakes no more followers than another."""
    worker = driver.worker(slots=20)
    driver.enter(*(new_job() for _ in range(20)))
    for number, hint in enumerate(driver.hints()[:20]):
        assert _ask(driver, driver.claim(hint.id, worker), f"c{number}") is Verdict.GO
        _follow_more(driver.redis, f"c{number}", 100)
    driver.clock.now += 3
    driver.hints()
    left = 2_000
    for _ in range(30):
        driver.clock.now += 1
        driver.hints()
        now_left = sum(driver.redis.llen(f"{FOLLOWERS}c{number}") for number in range(20))
        assert left - now_left <= MOST_WOKEN
        left = now_left
    assert left == 0


def _follow_more(redis: Redis, key: str, count: int) -> None:
    redis.rpush(FOLLOWERS + key, *(f"gone-{key}-{number}" for number in range(count)))
