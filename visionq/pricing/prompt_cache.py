"""Decide which part of a request the provider's prompt cache keeps, if any."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import Priority, PromptCache
from visionq.errors import InvalidJob
from visionq.pricing.caching import load_caching
from visionq.pricing.vision import forecast_text_tokens

if TYPE_CHECKING:
    from visionq.contract import JobDocument
    from visionq.pricing.caching import Caching
    from visionq.pricing.model_options import OptionTable

#: Ends the cached part of a prompt (openai 3.54: on parts of a message, not on `instructions`).
BREAKPOINT: Final = {"mode": "explicit"}


@dataclass(frozen=True, slots=True)
class CachePlan:
    """The fields of a request that control the cache."""

    #: `prompt_cache_options`; empty: left out, so that the provider decides.
    options: dict[str, str]
    #: Whether the instructions end with a breakpoint.
    breakpoint: bool = False


def cache_plan(job: JobDocument, default: PromptCache | None) -> CachePlan | None:
    """Return the cache fields of a job's request; None if its model takes none.

    Unless the job or `default` (VISIONQ_PROMPT_CACHE) says otherwise, the instructions of bulk jobs
    are cached if they are long enough; pictures never are. A written token costs 1.25 input tokens
    and a cached one 0.1, so caching pays from the second job on.
    """
    terms, choice = load_caching().for_model(job.model or ""), job.prompt_cache
    if choice is None and terms is not None:
        choice = default or _by_rule(job, terms)
    match choice:
        case None:
            return None
        case PromptCache.IMPLICIT:
            return CachePlan(_lifetime(job))
        case PromptCache.INSTRUCTIONS if job.instructions:
            return CachePlan({"mode": "explicit", **_lifetime(job)}, breakpoint=True)
        case _:
            # Without a breakpoint nothing is written or read.
            return CachePlan({"mode": "explicit"})


def cached_prefix(job: JobDocument) -> str:
    """Return the texts before the breakpoint: the schema comes before the instructions."""
    schema = "" if job.answer_schema is None else json.dumps(job.answer_schema, ensure_ascii=False)
    return schema + (job.instructions or "")


def check_prompt_cache(job: JobDocument, table: OptionTable) -> None:
    """Refuse cache fields that the job's model does not take.

    Raises:
        InvalidJob: the message names the field.
    """
    terms, model = load_caching().for_model(job.model or ""), job.model
    if terms is None:
        if table.for_model(model or "") is None:
            return  # an unknown model
        if job.prompt_cache not in (None, PromptCache.IMPLICIT):
            raise InvalidJob(
                f"prompt_cache: {model} takes only {PromptCache.IMPLICIT}: leave it out"
            )
        if job.prompt_cache_ttl is not None:
            raise InvalidJob(f"prompt_cache_ttl: {model} takes none: leave it out")
        return
    lifetimes = terms.lifetimes_of(job.api)
    if job.prompt_cache_ttl is not None and job.prompt_cache_ttl not in lifetimes:
        raise InvalidJob(
            f"prompt_cache_ttl: {model} takes {', '.join(lifetimes)} through {job.api},"
            f" not {job.prompt_cache_ttl!r}"
        )


def _by_rule(job: JobDocument, terms: Caching) -> PromptCache:
    is_shared = job.priority is Priority.BULK and bool(job.instructions)
    if is_shared and _tokens(cached_prefix(job)) >= terms.min_tokens:
        return PromptCache.INSTRUCTIONS
    return PromptCache.OFF


@functools.lru_cache(maxsize=64)
def _tokens(text: str) -> int:
    """Count the tokens of a text that many jobs share."""
    return forecast_text_tokens(text)


def _lifetime(job: JobDocument) -> dict[str, Any]:
    return {} if job.prompt_cache_ttl is None else {"ttl": job.prompt_cache_ttl}
