"""When a job goes on to another of its models, and when it does not: the whole table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.worker_parts import attempt, claim
from visionq import errors
from visionq.contract import DelayReason, ResultDocument
from visionq.ledger import (
    AskedModel,
    Billing,
    Completed,
    Ending,
    Failed,
    Moved,
    Outcome,
    Waiting,
    failed,
)
from worker.pipeline.moving import go_on, tried_before

CHEAP, STRONG, OTHER = "gpt-6-luna", "gpt-6.1-terra", "gpt-5-mini"
CASCADE = {"models": [STRONG], "sure_at": 0.8}
LADDER: dict[str, Any] = {"cascade": CASCADE, "fallback": [OTHER]}
LEFT = AskedModel(CHEAP, "unsure", 10, 1, 0.4, '{"what": "A cat"}')


def ended(outcome: Outcome, **fields: Any) -> Outcome:
    """Return what becomes of an attempt's outcome."""
    ending = Ending(outcome, Billing.SETTLED, 7)
    return go_on(attempt(claim(**{"model": CHEAP, **fields})), ending).outcome


def answer(data: Any = None, text: str = "", **fields: Any) -> Completed:
    fields = {"model": CHEAP, "api": "responses", "data": data, "text": text, **fields}
    return Completed(ResultDocument(id="job-1", **fields), "key", 3)


def to(outcome: Outcome) -> tuple[str, ...]:
    return outcome.models if isinstance(outcome, Moved) else ()


@pytest.mark.parametrize("kind", errors.BY_CODE.values())
def test_each_error_has_its_way(kind: type[errors.VisionqError]) -> None:
    """A useless answer goes up the cascade, a model that is away to the fallback; others stay."""
    failure = failed(kind("no"))
    useless = kind in (errors.Refused, errors.Incomplete, errors.InvalidOutput)
    away = kind in (errors.ModelNotFound, errors.ProviderUnavailable)
    expected = (STRONG,) if useless else (OTHER,) if away else ()
    assert to(ended(failure, **LADDER)) == expected
    takes_fallback = away or kind is errors.Refused
    assert to(ended(failure, fallback=[OTHER])) == ((OTHER,) if takes_fallback else ())
    assert to(ended(failure, cascade=CASCADE)) == ((STRONG,) if useless else ())
    assert ended(failure) is failure


def test_fallback_needs_known_billing() -> None:
    """A job of which a call may have been paid fails as without a fallback; a cascade goes on."""
    failure = failed(errors.Refused("no"))
    assert ended(failure, fallback=[OTHER], unknown_calls=1) is failure
    assert to(ended(failure, **LADDER, unknown_calls=1)) == (STRONG,)


def test_no_model_is_asked_twice() -> None:
    """The last model's failure is the job's; a model that was left is not asked again."""
    failure = failed(errors.Incomplete("no"))
    assert ended(failure, model=STRONG, cascade=CASCADE, steps=(LEFT,)) is failure
    refusal = failed(errors.Refused("no"))
    assert to(ended(refusal, **LADDER | {"model": STRONG}, steps=(LEFT,))) == (OTHER,)


@pytest.mark.parametrize(
    ("confidence", "sure_at", "moves"),
    [
        (0.8, 0.8, False),
        (0.79, 0.8, True),
        (1, 0.8, False),
        (None, 0.8, True),
        ("0.9", 0.8, True),
        (90, 0.8, True),
        (True, 0.8, True),
        (1, None, True),
        (0, 0, False),
    ],
)
def test_threshold(confidence: Any, sure_at: float | None, *, moves: bool) -> None:
    """An answer counts from the threshold on; what says no number from 0 to 1 is unsure."""
    cascade = {"models": [STRONG], "sure_at": sure_at}
    outcome = ended(answer({"confidence": confidence}, "text"), cascade=cascade)
    assert isinstance(outcome, Moved) is moves
    if isinstance(outcome, Moved):
        assert (outcome.reason, outcome.text, outcome.cache_key) == ("unsure", "text", "key")
        assert outcome.saved == 3


def test_sureness_lies_where_the_job_says() -> None:
    """The field may be deeper in the answer."""
    cascade = {"models": [STRONG], "sure_at": 0.8, "field": "quality.sure"}
    outcome = ended(answer({"quality": {"sure": 0.9}}), cascade=cascade)
    assert isinstance(outcome, Completed)
    assert outcome.result.sureness == 0.9


@pytest.mark.parametrize(("text", "agrees"), [('{"what": "a CAT"}', True), ("a dog", False)])
def test_agreement_is_that_of_the_last_two(text: str, *, agrees: bool) -> None:
    """The first answer agrees with nothing; the second does, or the next model is asked."""
    ladder = {"models": [OTHER, STRONG], "sure_at": 1, "sureness": "agreement"}
    assert to(ended(answer(text=text), cascade=ladder)) == (OTHER,)
    outcome = ended(answer(text=text), model=OTHER, cascade=ladder, steps=(LEFT,))
    assert to(outcome) == (() if agrees else (STRONG,))


def test_result_names_the_steps() -> None:
    """Each step has the cost of its own calls, and the last model saved nothing."""
    outcome = ended(
        answer({"confidence": 0.1}), model=STRONG, cascade=CASCADE, steps=(LEFT,), cost=10
    )
    assert isinstance(outcome, Completed)
    (step,) = outcome.result.steps
    assert (step.model, step.reason, step.sureness, step.text) == (
        CHEAP,
        "unsure",
        0.4,
        LEFT.text,
    )
    assert outcome.result.saved_rub == -step.cost_rub


def test_other_outcomes_stay() -> None:
    """A job that waits, or names no further models, is left as it is."""
    waiting = Waiting(DelayReason.PROVIDER_UNAVAILABLE, 1, counted=True)
    assert ended(waiting, **LADDER) is waiting
    plain = answer({"confidence": 0.1})
    assert ended(plain) is plain
    assert isinstance(ended(failed(errors.Refused("no"))), Failed)


def test_attempts_are_each_models_own() -> None:
    """Attempts at a model before do not count against the next one."""
    assert tried_before(claim()) == 0
    assert tried_before(claim(attempts=4, steps=(LEFT,))) == 1
