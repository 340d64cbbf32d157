"""The gate of a key: what closes it, who makes the trial, and how calls begin again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ledger import (
    BULK,
    INTERACTIVE,
    LedgerDriver,
    completed,
    new_job,
    outcome_of,
    paid,
    unclear,
    unpaid,
)
from visionq.contract import State
from visionq.ledger import Claim, ClaimRefusal, GateOrder, LedgerOptions, RefusalReason, Verdict
from visionq.names import GATE, JOB, NOTICES

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger import Registration

#: No hint is sent ahead, and so none comes where it is not expected.
OPTIONS = LedgerOptions(slots_per_hint_ahead=0)


@pytest.fixture
def driver(redis: Redis) -> LedgerDriver:
    return LedgerDriver(redis, OPTIONS)


def _worker(driver: LedgerDriver, name: str = "w1", slots: int = 8, key: str = "k") -> Registration:
    return driver.worker(name, slots, key=key)


def _gate(driver: LedgerDriver, key: str = "k") -> dict[str, str]:
    stored: dict[Any, Any] = driver.redis.hgetall(GATE + key)
    return {name.decode(): value.decode() for name, value in stored.items()}


def _claims(driver: LedgerDriver, worker: Registration) -> list[Claim]:
    return [driver.claim(hint.id, worker) for hint in driver.hints()]


def _go(driver: LedgerDriver, claim: Claim, reserve: int = 900) -> Claim:
    assert driver.ledger.admit(claim, reserve=reserve).verdict is Verdict.GO
    return claim


def _refuse(driver: LedgerDriver, claim: Claim, scope: str = "gate") -> None:
    assert driver.ledger.finish(claim, unpaid(outcome_of(f"held {scope}", claim.id)))


def _pass(driver: LedgerDriver, claim: Claim) -> None:
    assert driver.ledger.finish(claim, paid(completed(claim.id)))


def _until_trial(driver: LedgerDriver, worker: Registration, seconds: int = 6) -> list[Claim]:
    """Let the pause pass; returns what is given out then."""
    for _ in range(seconds):
        driver.clock.now += 1
        driver.ledger.renew(worker)
        if hints := driver.hints():
            return [driver.claim(hint.id, worker) for hint in hints]
    return []


def _closed(driver: LedgerDriver, jobs: int = 5) -> Registration:
    """Have the first of several jobs close the gate; the others wait."""
    worker = _worker(driver, slots=1)
    driver.enter(new_job("refused"), *(new_job(f"j{number}") for number in range(jobs)))
    (claim,) = _claims(driver, worker)
    _refuse(driver, _go(driver, claim))
    return _worker(driver)


def test_refusal_closes_for_all(driver: LedgerDriver) -> None:
    """One refusal on account closes the gate: what is claimed goes back, no attempt is burned."""
    worker = _worker(driver)
    driver.enter(*(new_job() for _ in range(4)))
    first, second, *_ = _claims(driver, worker)
    _refuse(driver, _go(driver, first))
    assert (_gate(driver)["state"], _gate(driver)["reason"]) == ("closed", "insufficient_balance")
    admission = driver.ledger.admit(second)
    assert (admission.verdict, admission.reason) == (Verdict.PARK, "insufficient_balance")
    assert driver.hints() == ()
    assert driver.redis.hvals("visionq:pool-busy") == [b"2"]
    again = driver.redis.hget(JOB + first.id, "attempts")
    assert again == b"0"


def test_closed_gate_takes_hints_back(driver: LedgerDriver) -> None:
    """A hint that is out when the gate closes goes back to its lane, and is not sent in circles."""
    worker = _worker(driver)
    claim = driver.begin(worker=worker)
    driver.enter(new_job("late"))
    assert [hint.id for hint in driver.hints()] == ["late"]
    _refuse(driver, _go(driver, claim))
    assert driver.ledger.claim("late", "t", worker) == ClaimRefusal(
        State.QUEUED, RefusalReason.GATE_CLOSED
    )
    assert driver.hints() == ()
    assert driver.redis.hvals("visionq:hinted") == [b"0"]


def test_another_makes_the_trial(driver: LedgerDriver) -> None:
    """After a pause one job may call, and it is not the one that closed the gate."""
    worker = _closed(driver)
    (trial,) = _until_trial(driver, worker)
    assert trial.id == "j0"
    assert driver.hints() == ()
    _go(driver, trial)


def test_pauses_grow(driver: LedgerDriver) -> None:
    """Each trial that is refused doubles the pause, up to a minute; 20 successes undo that."""
    worker = _closed(driver, jobs=40)
    pauses = []
    for _ in range(6):
        before = driver.clock.now
        (trial,) = _until_trial(driver, worker, 70)
        pauses.append(driver.clock.now - before)
        _refuse(driver, _go(driver, trial))
    assert pauses == [5, 10, 20, 40, 60, 60]
    waiting = _until_trial(driver, worker, 70)
    for _ in range(20):
        _pass(driver, _go(driver, waiting.pop()))
        waiting += _claims(driver, worker)
    assert _gate(driver)["state"] == "open"
    _refuse(driver, _go(driver, waiting.pop()))
    assert _gate(driver)["pause"] == "5000"


def test_outage_is_told_once(driver: LedgerDriver) -> None:
    """However many trials are refused, an operator hears once that it closed, and of its end."""
    worker = _closed(driver, jobs=30)
    for _ in range(5):
        (trial,) = _until_trial(driver, worker, 70)
        _refuse(driver, _go(driver, trial))
    assert _told(driver) == ["closed"]
    claims = _until_trial(driver, worker, 70)
    for _ in range(20):
        _pass(driver, _go(driver, claims.pop()))
        claims += _claims(driver, worker)
    assert _told(driver) == ["closed", "reopening", "open"]


def _told(driver: LedgerDriver) -> list[str]:
    entries: Any = driver.redis.xrange(NOTICES)
    told = [fields for _, fields in entries if fields[b"subject"].startswith(GATE.encode())]
    return [fields[b"state"].decode() for fields in told]


def test_opens_in_steps(driver: LedgerDriver) -> None:
    """With each success twice as many may be out: 1, 2, 4 … and never more than that."""
    worker = _closed(driver, jobs=30)
    out = [_go(driver, claim) for claim in _until_trial(driver, worker)]
    steps = []
    for _ in range(4):
        steps.append(len(out))
        _pass(driver, out.pop())
        out += [_go(driver, claim) for claim in _claims(driver, worker)]
    assert steps == [1, 2, 4, 8]


@pytest.mark.parametrize("end", ["fails its check", "is cancelled", "is answered", "loses worker"])
def test_trial_without_a_call_is_passed_on(driver: LedgerDriver, end: str) -> None:
    """A trial job that never calls leaves the trial to the next."""
    worker = _closed(driver)
    (trial,) = _until_trial(driver, worker)
    if end == "fails its check":
        driver.ledger.finish(trial, unpaid(outcome_of("failed", trial.id)))
    elif end == "is cancelled":
        driver.ledger.cancel([trial.id])
        assert driver.ledger.admit(trial).verdict is Verdict.REFUSED
    elif end == "is answered":
        driver.redis.set("visionq:answer:c", completed("other").result.to_json())
        assert driver.ledger.admit(trial, cache_key="c").verdict is Verdict.ANSWER
        driver.ledger.finish(trial, unpaid(completed(trial.id, saved=5)))
        assert driver.money() == {"saved": 5}
    else:
        driver.pass_time(11)
        worker = _worker(driver)
    assert (_gate(driver)["state"], _gate(driver)["step"]) == ("reopening", "1")
    (following,) = _claims(driver, worker)
    _go(driver, following)


@pytest.mark.parametrize("end", ["is cancelled", "breaks off", "loses worker"])
def test_trial_that_tells_nothing(driver: LedgerDriver, end: str) -> None:
    """A trial call without a clear end neither opens nor closes the gate; the next may call."""
    worker = _closed(driver)
    (trial,) = _until_trial(driver, worker)
    _go(driver, trial)
    if end == "breaks off":
        driver.ledger.finish(trial, unclear(outcome_of("retrying 20", trial.id)))
    else:
        if end == "is cancelled":
            driver.ledger.cancel([trial.id])
        assert _claims(driver, worker) == [] or end == "is cancelled"
        driver.pass_time(11)
        worker = _worker(driver)
    assert (_gate(driver)["state"], _gate(driver)["step"], _gate(driver)["calls_out"]) == (
        "reopening",
        "1",
        "0",
    )
    assert driver.money()["unknown_calls"] == 1


def test_dear_job_parks_alone(driver: LedgerDriver) -> None:
    """A job refused again while cheap ones passed since parks alone, and comes back by itself."""
    worker = _closed(driver, jobs=3)
    claims = _until_trial(driver, worker)
    dear = None
    while claims:
        claim = claims.pop()
        _go(driver, claim)
        if claim.id == "refused":
            dear = claim
            _refuse(driver, claim)
        else:
            _pass(driver, claim)
        claims += _claims(driver, worker)
    assert dear is not None
    assert driver.state("refused") is State.PARKED
    assert _gate(driver)["state"] == "reopening", "the others go on"
    assert [driver.state(f"j{number}") for number in range(3)] == [State.COMPLETED] * 3
    for _ in range(61):
        driver.clock.now += 1
        _worker(driver)
        if hints := driver.hints():
            break
    assert [hint.id for hint in hints] == ["refused"]


def test_paid_calls_of_before_park_nobody(driver: LedgerDriver) -> None:
    """Calls sent before the balance ran out come back paid: that does not set a job apart."""
    worker = _worker(driver)
    driver.enter(new_job("a"), new_job("slow"))
    refused, slow = (_go(driver, claim) for claim in _claims(driver, worker))
    _refuse(driver, refused)
    driver.clock.now += 1
    _pass(driver, slow)
    (trial,) = _until_trial(driver, worker)
    assert trial.id == "a"
    _refuse(driver, _go(driver, trial))
    assert _gate(driver)["state"] == "closed", "nothing has passed since: nobody can call"
    assert driver.redis.hget(JOB + "a", "state") == b"queued"


def test_refusal_from_before_the_reopening(driver: LedgerDriver) -> None:
    """A refusal of a call sent before the reopening closes nothing, parks nobody."""
    worker = _worker(driver)
    driver.enter(*(new_job() for _ in range(3)))
    old, *others = (_go(driver, claim) for claim in _claims(driver, worker))
    for claim in others:
        _refuse(driver, claim)
    (trial,) = _until_trial(driver, worker)
    _pass(driver, _go(driver, trial))
    _refuse(driver, old)
    assert (_gate(driver)["state"], _gate(driver)["step"]) == ("reopening", "2")
    assert driver.redis.hget(JOB + old.id, "state") == b"queued"


def test_success_from_before_the_reopening(driver: LedgerDriver) -> None:
    """Nor does a success of a call sent before tell that the key works now."""
    worker = _worker(driver)
    driver.enter(*(new_job() for _ in range(3)))
    old, refused, _ = (_go(driver, claim) for claim in _claims(driver, worker))
    _refuse(driver, refused)
    (trial,) = _until_trial(driver, worker)
    _pass(driver, old)
    assert _gate(driver)["step"] == "1"
    _go(driver, trial)


def test_success_of_a_lost_call(driver: LedgerDriver) -> None:
    """The late answer of a call long given up does not count for the job's call of today."""
    worker = _worker(driver)
    lost = _go(driver, driver.begin(new_job("a"), worker))
    driver.lapse(lost)
    driver.ledger.steer_gate("k", GateOrder.CLOSE)
    driver.ledger.steer_gate("k", GateOrder.REOPEN)
    (again,) = _claims(driver, _worker(driver, "w2"))
    _go(driver, again)
    assert not driver.ledger.finish(lost, paid(completed(lost.id)))
    assert (_gate(driver)["step"], _gate(driver)["calls_out"]) == ("1", "1")


def test_hanging_call_does_not_stop_the_trial(driver: LedgerDriver) -> None:
    """A call that hangs since before the closing takes no place of the reopening."""
    worker = _worker(driver)
    driver.enter(new_job("hangs"), new_job("refused"), new_job("next"))
    hangs, refused, _ = _claims(driver, worker)
    _go(driver, hangs)
    _refuse(driver, _go(driver, refused))
    driver.ledger.cancel(["next"])
    for _ in range(6):
        driver.clock.now += 1
        driver.ledger.renew(worker, [(hangs.id, hangs.token)])
        driver.hints()
    _go(driver, driver.claim("refused", worker))
    assert (_gate(driver)["calls_out"], _gate(driver)["calls_before"]) == ("2", "1")
    _pass(driver, hangs)
    assert (_gate(driver)["calls_out"], _gate(driver)["calls_before"]) == ("1", "0")


def test_one_step_for_all_workers_of_a_key(driver: LedgerDriver) -> None:
    """Workers of one key that serve different queues share the trial."""
    both = _worker(driver, "both")
    driver.worker("bulk", 8, BULK, key="k")
    driver.worker("interactive", 8, INTERACTIVE, key="k")
    driver.ledger.steer_gate("k", GateOrder.CLOSE)
    driver.ledger.steer_gate("k", GateOrder.REOPEN)
    driver.enter(*(new_job(priority=priority) for priority in ("bulk", "interactive") * 4))
    (trial,) = _claims(driver, both)
    assert driver.hints() == ()
    _go(driver, trial)
    assert driver.hints() == ()


def test_old_key_beside_a_new_one(driver: LedgerDriver) -> None:
    """A worker with a dead key loses no hint, gets few jobs, and the others go on."""
    old, new = _worker(driver, "old", key="old"), _worker(driver, "new", key="new")
    ids = driver.enter(*(new_job() for _ in range(100)))
    refused, looks, thefts, hints = 0, 0, 0, itertools.count()
    while {driver.state(job_id) for job_id in ids} != {State.COMPLETED}:
        looks += 1
        assert looks < 300, "the old key starves the others"
        driver.clock.now += 1
        for worker in (old, new):
            driver.ledger.renew(worker)
        for hint in driver.hints():
            if next(hints) % 2:
                _pass(driver, _go(driver, driver.claim(hint.id, new)))
                continue
            claim = driver.ledger.claim(hint.id, f"{looks}-{hint.id}", old)
            if isinstance(claim, ClaimRefusal):
                assert claim.reason is RefusalReason.GATE_CLOSED
                thefts += 1
            elif driver.ledger.admit(claim).verdict is Verdict.GO:
                refused += 1
                _refuse(driver, claim)
    assert _gate(driver, "new").get("state", "open") == "open"
    assert _gate(driver, "old")["state"] in ("closed", "reopening")
    assert refused < 10
    assert thefts > 10, "it did take hints"


def test_refused_by_one_key_is_new_to_another(driver: LedgerDriver) -> None:
    """A refusal by one key is no sign against the job at another key, which it closes."""
    old, new = _worker(driver, "old", key="old"), _worker(driver, "new", key="new")
    driver.enter(new_job("a"), new_job("b"))
    first, second = (hint.id for hint in driver.hints())
    _refuse(driver, _go(driver, driver.claim(first, old)))
    driver.clock.now += 1
    _pass(driver, _go(driver, driver.claim(second, new)))
    (hint,) = driver.hints()
    _refuse(driver, _go(driver, driver.claim(hint.id, new)))
    assert _gate(driver, "new")["state"] == "closed"
    assert driver.redis.hget(JOB + first, "state") == b"queued"


def test_operator_closes_for_good(driver: LedgerDriver) -> None:
    """No pause reopens a gate that an operator closed; `open` opens it at once."""
    worker = _worker(driver)
    assert driver.ledger.steer_gate("k", GateOrder.CLOSE) == "open"
    driver.enter(*(new_job() for _ in range(4)))
    assert _until_trial(driver, worker, 120) == []
    assert driver.ledger.steer_gate("k", GateOrder.OPEN) == "closed"
    assert len(_claims(driver, worker)) == 4


def test_top_up_reopens_in_steps(driver: LedgerDriver) -> None:
    """A balance that was topped up does not wait for the pause; an open gate stays as it is."""
    worker = _closed(driver)
    assert driver.ledger.steer_gate("k", GateOrder.REOPEN) == "closed"
    assert len(_claims(driver, worker)) == 1
    assert driver.ledger.steer_gate("other", GateOrder.REOPEN) == "open"
    assert _gate(driver, "other") == {}


def test_closed_gate_is_quiet(driver: LedgerDriver) -> None:
    """While the gate is closed a look costs the same, however many jobs wait."""
    worker = _closed(driver, jobs=500)
    driver.ledger.steer_gate("k", GateOrder.CLOSE)
    driver.hints()
    driver.redis.delete("visionq:wake")
    driver.redis.config_resetstat()
    for _ in range(10):
        driver.clock.now += 1
        driver.ledger.renew(worker)
        assert driver.hints() == ()
    assert driver.redis.llen("visionq:wake") == 0, "nobody looks again at once"
    commands = sum(entry["calls"] for entry in driver.redis.info("commandstats").values())
    assert commands < 10 * 50
