"""The gate of a key: what closes it, who makes the trial, and how calls begin again."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.ledger_kit import (
    BULK,
    INTERACTIVE,
    Desk,
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
def desk(redis: Redis) -> Desk:
    return Desk(redis, OPTIONS)


def _worker(desk: Desk, name: str = "w1", slots: int = 8, key: str = "k") -> Registration:
    return desk.worker(name, slots, key=key)


def _gate(desk: Desk, key: str = "k") -> dict[str, str]:
    stored: dict[Any, Any] = desk.redis.hgetall(GATE + key)
    return {name.decode(): value.decode() for name, value in stored.items()}


def _claims(desk: Desk, worker: Registration) -> list[Claim]:
    return [desk.claim(hint.id, worker) for hint in desk.hints()]


def _go(desk: Desk, claim: Claim, reserve: int = 900) -> Claim:
    assert desk.ledger.admit(claim, reserve=reserve).verdict is Verdict.GO
    return claim


def _refuse(desk: Desk, claim: Claim, scope: str = "gate") -> None:
    assert desk.ledger.finish(claim, unpaid(outcome_of(f"held {scope}", claim.id)))


def _pass(desk: Desk, claim: Claim) -> None:
    assert desk.ledger.finish(claim, paid(completed(claim.id)))


def _until_trial(desk: Desk, worker: Registration, seconds: int = 6) -> list[Claim]:
    """Let the pause pass; returns what is given out then."""
    for _ in range(seconds):
        desk.clock.now += 1
        desk.ledger.renew(worker)
        if hints := desk.hints():
            return [desk.claim(hint.id, worker) for hint in hints]
    return []


def _closed(desk: Desk, jobs: int = 5) -> Registration:
    """Have the first of several jobs close the gate; the others wait."""
    worker = _worker(desk, slots=1)
    desk.enter(new_job("refused"), *(new_job(f"j{number}") for number in range(jobs)))
    (claim,) = _claims(desk, worker)
    _refuse(desk, _go(desk, claim))
    return _worker(desk)


def test_refusal_closes_for_all(desk: Desk) -> None:
    """One refusal on account closes the gate: what is claimed goes back, no attempt is burned."""
    worker = _worker(desk)
    desk.enter(*(new_job() for _ in range(4)))
    first, second, *_ = _claims(desk, worker)
    _refuse(desk, _go(desk, first))
    assert (_gate(desk)["state"], _gate(desk)["reason"]) == ("closed", "insufficient_balance")
    admission = desk.ledger.admit(second)
    assert (admission.verdict, admission.reason) == (Verdict.PARK, "insufficient_balance")
    assert desk.hints() == ()
    assert desk.redis.hvals("visionq:pool-busy") == [b"2"]
    again = desk.redis.hget(JOB + first.id, "attempts")
    assert again == b"0"


def test_closed_gate_takes_hints_back(desk: Desk) -> None:
    """A hint that is out when the gate closes goes back to its lane, and is not sent in circles."""
    worker = _worker(desk)
    claim = desk.begin(worker=worker)
    desk.enter(new_job("late"))
    assert [hint.id for hint in desk.hints()] == ["late"]
    _refuse(desk, _go(desk, claim))
    assert desk.ledger.claim("late", "t", worker) == ClaimRefusal(
        State.QUEUED, RefusalReason.GATE_CLOSED
    )
    assert desk.hints() == ()
    assert desk.redis.hvals("visionq:hinted") == [b"0"]


def test_another_makes_the_trial(desk: Desk) -> None:
    """After a pause one job may call, and it is not the one that closed the gate."""
    worker = _closed(desk)
    (trial,) = _until_trial(desk, worker)
    assert trial.id == "j0"
    assert desk.hints() == ()
    _go(desk, trial)


def test_pauses_grow(desk: Desk) -> None:
    """Each trial that is refused doubles the pause, up to a minute; 20 successes undo that."""
    worker = _closed(desk, jobs=40)
    pauses = []
    for _ in range(6):
        before = desk.clock.now
        (trial,) = _until_trial(desk, worker, 70)
        pauses.append(desk.clock.now - before)
        _refuse(desk, _go(desk, trial))
    assert pauses == [5, 10, 20, 40, 60, 60]
    waiting = _until_trial(desk, worker, 70)
    for _ in range(20):
        _pass(desk, _go(desk, waiting.pop()))
        waiting += _claims(desk, worker)
    assert _gate(desk)["state"] == "open"
    _refuse(desk, _go(desk, waiting.pop()))
    assert _gate(desk)["pause"] == "5000"


def test_outage_is_told_once(desk: Desk) -> None:
    """However many trials are refused, an operator is told once that it closed, and of its end."""
    worker = _closed(desk, jobs=30)
    for _ in range(5):
        (trial,) = _until_trial(desk, worker, 70)
        _refuse(desk, _go(desk, trial))
    assert _told(desk) == ["closed"]
    claims = _until_trial(desk, worker, 70)
    for _ in range(20):
        _pass(desk, _go(desk, claims.pop()))
        claims += _claims(desk, worker)
    assert _told(desk) == ["closed", "reopening", "open"]


def _told(desk: Desk) -> list[str]:
    entries: Any = desk.redis.xrange(NOTICES)
    told = [fields for _, fields in entries if fields[b"subject"].startswith(GATE.encode())]
    return [fields[b"state"].decode() for fields in told]


def test_opens_in_steps(desk: Desk) -> None:
    """With each success twice as many may be out: 1, 2, 4 … and never more than that."""
    worker = _closed(desk, jobs=30)
    out = [_go(desk, claim) for claim in _until_trial(desk, worker)]
    steps = []
    for _ in range(4):
        steps.append(len(out))
        _pass(desk, out.pop())
        out += [_go(desk, claim) for claim in _claims(desk, worker)]
    assert steps == [1, 2, 4, 8]


@pytest.mark.parametrize("end", ["fails its check", "is cancelled", "is answered", "loses worker"])
def test_trial_without_a_call_is_passed_on(desk: Desk, end: str) -> None:
    """A trial job that never calls leaves the trial to the next."""
    worker = _closed(desk)
    (trial,) = _until_trial(desk, worker)
    if end == "fails its check":
        desk.ledger.finish(trial, unpaid(outcome_of("failed", trial.id)))
    elif end == "is cancelled":
        desk.ledger.cancel([trial.id])
        assert desk.ledger.admit(trial).verdict is Verdict.REFUSED
    elif end == "is answered":
        desk.redis.set("visionq:answer:c", completed("other").result.to_json())
        assert desk.ledger.admit(trial, cache_key="c").verdict is Verdict.ANSWER
        desk.ledger.finish(trial, unpaid(completed(trial.id, saved=5)))
        assert desk.money() == {"saved": 5}
    else:
        desk.pass_time(11)
        worker = _worker(desk)
    assert (_gate(desk)["state"], _gate(desk)["step"]) == ("reopening", "1")
    (following,) = _claims(desk, worker)
    _go(desk, following)


@pytest.mark.parametrize("end", ["is cancelled", "breaks off", "loses worker"])
def test_trial_that_tells_nothing(desk: Desk, end: str) -> None:
    """A trial call without a clear end neither opens nor closes the gate; the next may call."""
    worker = _closed(desk)
    (trial,) = _until_trial(desk, worker)
    _go(desk, trial)
    if end == "breaks off":
        desk.ledger.finish(trial, unclear(outcome_of("retrying 20", trial.id)))
    else:
        if end == "is cancelled":
            desk.ledger.cancel([trial.id])
        assert _claims(desk, worker) == [] or end == "is cancelled"
        desk.pass_time(11)
        worker = _worker(desk)
    assert (_gate(desk)["state"], _gate(desk)["step"], _gate(desk)["calls_out"]) == (
        "reopening",
        "1",
        "0",
    )
    assert desk.money()["unknown_calls"] == 1


def test_dear_job_parks_alone(desk: Desk) -> None:
    """A job refused again while cheap ones passed since parks alone, and comes back by itself."""
    worker = _closed(desk, jobs=3)
    claims = _until_trial(desk, worker)
    dear = None
    while claims:
        claim = claims.pop()
        _go(desk, claim)
        if claim.id == "refused":
            dear = claim
            _refuse(desk, claim)
        else:
            _pass(desk, claim)
        claims += _claims(desk, worker)
    assert dear is not None
    assert desk.state("refused") is State.PARKED
    assert _gate(desk)["state"] == "reopening", "the others go on"
    assert [desk.state(f"j{number}") for number in range(3)] == [State.COMPLETED] * 3
    for _ in range(61):
        desk.clock.now += 1
        _worker(desk)
        if hints := desk.hints():
            break
    assert [hint.id for hint in hints] == ["refused"]


def test_paid_calls_of_before_park_nobody(desk: Desk) -> None:
    """Calls sent before the balance ran out come back paid: that does not set a job apart."""
    worker = _worker(desk)
    desk.enter(new_job("a"), new_job("slow"))
    refused, slow = (_go(desk, claim) for claim in _claims(desk, worker))
    _refuse(desk, refused)
    desk.clock.now += 1
    _pass(desk, slow)
    (trial,) = _until_trial(desk, worker)
    assert trial.id == "a"
    _refuse(desk, _go(desk, trial))
    assert _gate(desk)["state"] == "closed", "nothing has passed since: nobody can call"
    assert desk.redis.hget(JOB + "a", "state") == b"queued"


def test_refusal_from_before_the_reopening(desk: Desk) -> None:
    """A refusal of a call sent before the reopening closes nothing, parks nobody."""
    worker = _worker(desk)
    desk.enter(*(new_job() for _ in range(3)))
    old, *others = (_go(desk, claim) for claim in _claims(desk, worker))
    for claim in others:
        _refuse(desk, claim)
    (trial,) = _until_trial(desk, worker)
    _pass(desk, _go(desk, trial))
    _refuse(desk, old)
    assert (_gate(desk)["state"], _gate(desk)["step"]) == ("reopening", "2")
    assert desk.redis.hget(JOB + old.id, "state") == b"queued"


def test_success_from_before_the_reopening(desk: Desk) -> None:
    """Nor does a success of a call sent before tell that the key works now."""
    worker = _worker(desk)
    desk.enter(*(new_job() for _ in range(3)))
    old, refused, _ = (_go(desk, claim) for claim in _claims(desk, worker))
    _refuse(desk, refused)
    (trial,) = _until_trial(desk, worker)
    _pass(desk, old)
    assert _gate(desk)["step"] == "1"
    _go(desk, trial)


def test_success_of_a_lost_call(desk: Desk) -> None:
    """The late answer of a call long given up does not count for the job's call of today."""
    worker = _worker(desk)
    lost = _go(desk, desk.begin(new_job("a"), worker))
    desk.lapse(lost)
    desk.ledger.steer_gate("k", GateOrder.CLOSE)
    desk.ledger.steer_gate("k", GateOrder.REOPEN)
    (again,) = _claims(desk, _worker(desk, "w2"))
    _go(desk, again)
    assert not desk.ledger.finish(lost, paid(completed(lost.id)))
    assert (_gate(desk)["step"], _gate(desk)["calls_out"]) == ("1", "1")


def test_hanging_call_does_not_stop_the_trial(desk: Desk) -> None:
    """A call that hangs since before the closing takes no place of the reopening."""
    worker = _worker(desk)
    desk.enter(new_job("hangs"), new_job("refused"), new_job("next"))
    hangs, refused, _ = _claims(desk, worker)
    _go(desk, hangs)
    _refuse(desk, _go(desk, refused))
    desk.ledger.cancel(["next"])
    for _ in range(6):
        desk.clock.now += 1
        desk.ledger.renew(worker, [(hangs.id, hangs.token)])
        desk.hints()
    _go(desk, desk.claim("refused", worker))
    assert (_gate(desk)["calls_out"], _gate(desk)["calls_before"]) == ("2", "1")
    _pass(desk, hangs)
    assert (_gate(desk)["calls_out"], _gate(desk)["calls_before"]) == ("1", "0")


def test_one_step_for_all_workers_of_a_key(desk: Desk) -> None:
    """Workers of one key that serve different queues share the trial."""
    both = _worker(desk, "both")
    desk.worker("bulk", 8, BULK, key="k")
    desk.worker("interactive", 8, INTERACTIVE, key="k")
    desk.ledger.steer_gate("k", GateOrder.CLOSE)
    desk.ledger.steer_gate("k", GateOrder.REOPEN)
    desk.enter(*(new_job(priority=priority) for priority in ("bulk", "interactive") * 4))
    (trial,) = _claims(desk, both)
    assert desk.hints() == ()
    _go(desk, trial)
    assert desk.hints() == ()


def test_old_key_beside_a_new_one(desk: Desk) -> None:
    """A worker with a dead key loses no hint, gets few jobs in hand, and the others go on."""
    old, new = _worker(desk, "old", key="old"), _worker(desk, "new", key="new")
    ids = desk.enter(*(new_job() for _ in range(100)))
    refused, looks, thefts, hints = 0, 0, 0, itertools.count()
    while {desk.state(job_id) for job_id in ids} != {State.COMPLETED}:
        looks += 1
        assert looks < 300, "the old key starves the others"
        desk.clock.now += 1
        for worker in (old, new):
            desk.ledger.renew(worker)
        for hint in desk.hints():
            if next(hints) % 2:
                _pass(desk, _go(desk, desk.claim(hint.id, new)))
                continue
            claim = desk.ledger.claim(hint.id, f"{looks}-{hint.id}", old)
            if isinstance(claim, ClaimRefusal):
                assert claim.reason is RefusalReason.GATE_CLOSED
                thefts += 1
            elif desk.ledger.admit(claim).verdict is Verdict.GO:
                refused += 1
                _refuse(desk, claim)
    assert _gate(desk, "new").get("state", "open") == "open"
    assert _gate(desk, "old")["state"] in ("closed", "reopening")
    assert refused < 10
    assert thefts > 10, "it did take hints"


def test_refused_by_one_key_is_new_to_another(desk: Desk) -> None:
    """What one key refused is no sign against the job at another key, which it closes."""
    old, new = _worker(desk, "old", key="old"), _worker(desk, "new", key="new")
    desk.enter(new_job("a"), new_job("b"))
    first, second = (hint.id for hint in desk.hints())
    _refuse(desk, _go(desk, desk.claim(first, old)))
    desk.clock.now += 1
    _pass(desk, _go(desk, desk.claim(second, new)))
    (hint,) = desk.hints()
    _refuse(desk, _go(desk, desk.claim(hint.id, new)))
    assert _gate(desk, "new")["state"] == "closed"
    assert desk.redis.hget(JOB + first, "state") == b"queued"


def test_operator_closes_for_good(desk: Desk) -> None:
    """What an operator closed no pause reopens, open opens at once."""
    worker = _worker(desk)
    assert desk.ledger.steer_gate("k", GateOrder.CLOSE) == "open"
    desk.enter(*(new_job() for _ in range(4)))
    assert _until_trial(desk, worker, 120) == []
    assert desk.ledger.steer_gate("k", GateOrder.OPEN) == "closed"
    assert len(_claims(desk, worker)) == 4


def test_top_up_reopens_in_steps(desk: Desk) -> None:
    """A balance that was topped up does not wait for the pause; an open gate stays as it is."""
    worker = _closed(desk)
    assert desk.ledger.steer_gate("k", GateOrder.REOPEN) == "closed"
    assert len(_claims(desk, worker)) == 1
    assert desk.ledger.steer_gate("other", GateOrder.REOPEN) == "open"
    assert _gate(desk, "other") == {}


def test_closed_gate_is_quiet(desk: Desk) -> None:
    """While the gate is closed a look costs the same, however many jobs wait."""
    worker = _closed(desk, jobs=500)
    desk.ledger.steer_gate("k", GateOrder.CLOSE)
    desk.hints()
    desk.redis.delete("visionq:wake")
    desk.redis.config_resetstat()
    for _ in range(10):
        desk.clock.now += 1
        desk.ledger.renew(worker)
        assert desk.hints() == ()
    assert desk.redis.llen("visionq:wake") == 0, "nobody looks again at once"
    commands = sum(entry["calls"] for entry in desk.redis.info("commandstats").values())
    assert commands < 10 * 50
