"""Rate limits of models, and their current rates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import AwareDatetime

from visionq.contract.base import Document
from visionq.contract.limits import ALL_MODELS, Limits
from visionq.ledger.scripts import Call, script_text
from visionq.names import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redis import Redis

    from visionq.ledger.records import RateLimitFeedback

#: Who can say what a model's limits are; the first is believed before the second.
OPERATOR: Final = "operator"
ENVIRONMENT: Final = "environment"


class RateLimitStatus(Document):
    """The current rate of one model, if anything limits it."""

    model: str
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: int | None = None
    #: What the rate of requests comes from: `told` by a setting or the provider, or `learned`.
    source: str | None = None
    #: When the next call may be sent.
    next_at: AwareDatetime
    calls_out: int
    #: Taken by workers and not sent yet.
    at_hand: int


def feedback_fields(news: RateLimitFeedback) -> dict[str, float] | None:
    """Return the feedback for `finish`; None if a call gave none."""
    told = {
        "tokens": news.tokens,
        "requests_limit": news.requests_limit,
        "tokens_limit": news.tokens_limit,
        "refused": news.refused or None,
        "pause": None if news.pause is None else round(news.pause * 1000),
    }
    return {name: value for name, value in told.items() if value is not None} or None


def set_limits(who: str, limits: Mapping[str, Limits | None]) -> Call[None]:
    """Set the limits of models (`*`: all others); None removes them."""
    arguments: list[str] = [who]
    for model, one in limits.items():
        arguments += (model, "" if one is None else one.to_compact_json())
    return Call("limits", tuple(arguments), lambda _: None)


def read_limits(redis: Redis) -> dict[str, dict[str, Limits]]:
    """Return source (`operator`, `environment`) → model → limits."""
    said: dict[str, dict[str, Limits]] = {OPERATOR: {}, ENVIRONMENT: {}}
    stored: dict[Any, Any] = redis.hgetall(LIMITS)
    for entry, limits in sorted(stored.items()):
        who, _, model = entry.decode().partition(":")
        # A newer release may know of more kinds of limit.
        said[who][model] = Limits.model_validate_json(limits, extra="ignore")
    return said


def read_rate_limits(redis: Redis, models: Iterable[str]) -> tuple[RateLimitStatus, ...]:
    """Return the rates of these models and of those with limits."""
    said = {model for entries in read_limits(redis).values() for model in entries}
    names = sorted({*models, *said} - {ALL_MODELS})
    if not names:
        return ()
    reply: list[list[bytes]] = redis.register_script(script_text("rate_limits"))(args=("", *names))
    paces = [
        _pace(model, [text.decode() for text in texts])
        for model, texts in zip(names, reply, strict=True)
    ]
    return tuple(rate_limit for rate_limit in paces if _is_limited(rate_limit))


def _pace(model: str, texts: list[str]) -> RateLimitStatus:
    requests, tokens, concurrency, source, next_at, calls_out, at_hand = texts
    return RateLimitStatus(
        model=model,
        requests_per_minute=round(float(requests), 1) if requests else None,
        tokens_per_minute=round(float(tokens), 1) if tokens else None,
        concurrency=round(float(concurrency)) if concurrency else None,
        source=source or None,
        next_at=datetime.fromtimestamp(float(next_at) / 1000, UTC),
        calls_out=max(0, round(float(calls_out))),
        at_hand=max(0, round(float(at_hand))),
    )


def _is_limited(rate_limit: RateLimitStatus) -> bool:
    limits = (rate_limit.requests_per_minute, rate_limit.tokens_per_minute, rate_limit.concurrency)
    return any(limit is not None for limit in limits)
