"""Read what a script tells of a job that a worker takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from visionq.contract import ErrorDocument, InvalidAnswer, JobDocument, JobStep
from visionq.ledger.records import AskedModel, Claim
from visionq.pricing.money import rubles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read_fields(reply: list[Any]) -> dict[str, bytes]:
    """Return the fields of a job from a reply of alternating names and values."""
    return {name.decode(): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def read_claim(job_id: str, token: str, known: Mapping[str, bytes]) -> Claim:
    """Return the claim in a script's reply."""
    # A newer worker may have added fields to these two.
    faulty, missing = known.get("faulty"), known.get("missing_model")

    def number(name: str) -> int:
        return int(known.get(name, 0))

    return Claim(
        id=job_id,
        token=token,
        document=_document_of(known),
        now=number("now") / 1000,
        submitted=number("submitted") / 1000,
        attempts=number("attempts"),
        waits=number("waits"),
        # Those that a person excused (resume.lua) are left out.
        unknown_calls=max(0, number("unknown_calls") - number("excused")),
        interrupted="interrupted" in known,
        lapses=number("lapses"),
        cost=number("cost"),
        faulty=InvalidAnswer.model_validate_json(faulty, extra="ignore") if faulty else None,
        missing_model=ErrorDocument.model_validate_json(missing, extra="ignore")
        if missing
        else None,
        trace=known.get("trace", b"").decode(),
        tier=known.get("tier", b"").decode(),
        steps=read_steps(known.get("steps", b"")),
        defaulted=frozenset(known.get("defaulted", b"").decode().split()),
    )


def _document_of(known: Mapping[str, bytes]) -> JobDocument:
    """Return the question as it is asked of the model whose turn it is."""
    document = JobDocument.model_validate_json(known["document"])
    if "model" not in known:
        return document
    changes: dict[str, Any] = {"model": known["model"].decode()}
    if "deadline" not in known:  # a call was sent in time for it
        changes["deadline"] = None
    return document.model_copy(update=changes)


def read_steps(stored: bytes) -> tuple[AskedModel, ...]:
    """Return the steps that a job has stored: JSON objects with commas between."""
    steps = json.loads(b"[" + stored + b"]")
    return tuple(AskedModel(**{**step.pop("answer", {}), **step}) for step in steps)


def job_steps(steps: Sequence[AskedModel]) -> tuple[JobStep, ...]:
    """Return the steps as people see them, each with the cost of its own calls."""
    before = (0, *(step.cost for step in steps))
    return tuple(
        JobStep(
            model=step.model,
            reason=step.reason,
            cost_rub=rubles(step.cost - paid),
            sureness=step.sureness,
            text=step.text,
        )
        for step, paid in zip(steps, before, strict=False)
    )
