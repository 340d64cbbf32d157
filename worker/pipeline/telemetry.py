"""Metrics and span attributes of one attempt: names and numbers, no content."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from visionq.ledger import Completed
from visionq.ledger.metrics import (
    ANSWERS,
    CALL_SECONDS,
    CASCADE,
    CASCADE_EXTRA,
    CASCADE_SAVED,
    FLEX_CALL_SECONDS,
    JOB_SECONDS,
    LANES,
    MODEL,
    NEAR,
    OTHER,
    STAGE_SECONDS,
    TENANT,
    TOKEN_KINDS,
    TOKENS,
    USAGE_DISBELIEVED,
    add,
)
from visionq.pricing.flex import FLEX
from visionq.pricing.money import nano_rubles
from worker.provider.checked_usage import DisbelievedUsage

if TYPE_CHECKING:
    from visionq.contract import Usage
    from visionq.ledger import Claim, Ending
    from worker.pipeline.context import Attempt
    from worker.tracing import Facts

#: Steps that work on pictures, by the names under which they are timed.
_PICTURE_STEPS: Final = ("load", "check", "encode")
_STATUSES: Final = frozenset(str(status.value) for status in HTTPStatus)


def counted_by(attempt: Attempt, ending: Ending) -> dict[str, int]:
    """Return field → amount, as `visionq.ledger.metrics` names them."""
    counted: dict[str, int] = {}
    _count_call(counted, attempt)
    _count_pictures(counted, attempt)
    add(counted, round(attempt.waited * 1000), "limiter_wait_ms", MODEL)
    add(counted, attempt.waits, "limiter_waits", MODEL)
    if isinstance(ending.outcome, Completed):
        result = ending.outcome.result
        reused = NEAR if result.near else "stored" if result.cached else "late"
        source = "provider" if attempt.sent else reused
        add(counted, 1, ANSWERS, TENANT, MODEL, source, *_lane(attempt))
        passed = attempt.claim.now - attempt.claim.submitted
        seconds = max(0.0, passed + attempt.seconds)
        JOB_SECONDS.observe(counted, seconds, attempt.job.priority.value, *_lane(attempt))
        if (saved := result.saved_rub) is not None:
            kind = CASCADE_SAVED if saved > 0 else CASCADE_EXTRA
            add(counted, nano_rubles(abs(saved)), CASCADE, TENANT, kind)
    return counted


def _lane(attempt: Attempt) -> tuple[str, ...]:
    """Return the label of the lane: the online one has none."""
    _, batch = LANES
    return (batch,) if attempt.in_batch else ()


def _count_call(counted: dict[str, int], attempt: Attempt) -> None:
    """Count the call, if one was made: no status means that no whole reply came."""
    if not attempt.sent:
        return
    if attempt.joins is not None:  # another has counted the call
        if attempt.counted is not None:
            _count_tokens(counted, attempt.counted)
        return
    status = "none" if attempt.status is None else str(attempt.status)
    known = status if status in _STATUSES or status == "none" else OTHER
    add(counted, 1, "calls", MODEL, known, attempt.fault or "ok", *_lane(attempt))
    if "ask" in attempt.timings_ms:
        durations = FLEX_CALL_SECONDS if attempt.tier == FLEX else CALL_SECONDS
        durations.observe(counted, attempt.timings_ms["ask"] / 1000, MODEL)
    is_disbelieved = isinstance(attempt.counted, DisbelievedUsage)
    if is_disbelieved or attempt.reported_cost.is_disbelieved:
        add(counted, 1, USAGE_DISBELIEVED, MODEL)
    if not is_disbelieved and attempt.counted is not None:
        _count_tokens(counted, attempt.counted)


def _count_tokens(counted: dict[str, int], usage: Usage) -> None:
    """Count tokens so that the kinds add up to all of them."""
    amounts = (
        usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens - usage.reasoning_tokens,
        usage.reasoning_tokens,
    )
    for kind, tokens in zip(TOKEN_KINDS, amounts, strict=True):
        add(counted, tokens, TOKENS, TENANT, MODEL, kind)


def _count_pictures(counted: dict[str, int], attempt: Attempt) -> None:
    if attempt.joins is not None:
        return  # another has prepared them
    if attempt.claim.faulty is not None:
        return  # they were counted with the invalid answer
    for step in _PICTURE_STEPS:
        if step in attempt.timings_ms:
            STAGE_SECONDS.observe(counted, attempt.timings_ms[step] / 1000, step)
    for picture in attempt.pictures:
        sent = picture.crops or ((picture.sent,) if picture.sent else ())
        if picture.source is not None and sent:
            add(counted, 1, "pictures", picture.source.format)
            add(counted, picture.source.bytes, "picture_bytes", "source")
            add(counted, sum(one.bytes for one in sent), "picture_bytes", "sent")


def of_job(claim: Claim) -> Facts:
    """Return span attributes of a claimed job."""
    return {
        "messaging.system": "visionq",
        "messaging.operation.type": "process",
        "messaging.message.id": claim.id,
        "visionq.tenant": claim.document.tenant,
        "visionq.attempt": claim.attempts + 1,
        "visionq.pictures": len(claim.document.images),
    }


def of_call(attempt: Attempt) -> Facts:
    """Return span attributes of the call before it is made."""
    server = urlsplit(attempt.dependencies.settings.base_url).hostname or ""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": attempt.model,
        "gen_ai.request.max_tokens": attempt.job.max_output_tokens or 0,
        "server.address": server,
    }


def of_reply(attempt: Attempt) -> Facts:
    """Return the status of the reply and its usage."""
    facts: dict[str, str | int | float] = {}
    if attempt.status is not None:
        facts["http.response.status_code"] = attempt.status
    if attempt.counted is not None:
        facts["gen_ai.usage.input_tokens"] = attempt.counted.input_tokens
        facts["gen_ai.usage.cache_read.input_tokens"] = attempt.counted.cached_tokens
        facts["gen_ai.usage.cache_creation.input_tokens"] = attempt.counted.cache_write_tokens
        facts["gen_ai.usage.output_tokens"] = attempt.counted.output_tokens
    return facts
