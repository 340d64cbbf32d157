"""What a request says of the provider's prompt cache: which part of it is to be kept, if any."""

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

#: What ends the part of a prompt that is kept (openai 3.54: on parts of a message alone, never on
#: the field `instructions`).
BREAKPOINT: Final = {"mode": "explicit"}


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What is sent of it."""

    #: `prompt_cache_options`; empty: the field is left out, and the provider does as it likes.
    options: dict[str, str]
    #: Whether the instructions end with a breakpoint.
    breakpoint: bool = False


def cache_plan(job: JobDocument, default: PromptCache | None) -> CachePlan | None:
    """Return what a job's request says of the prompt cache; None: its model takes no such field.

    Where neither the job nor `default` (VISIONQ_PROMPT_CACHE) says otherwise, instructions are kept
    that many jobs share, as bulk jobs do, and that are long enough; pictures never are. A written
    token costs a quarter more than one that is not, a read one a tenth: it pays from two jobs on.
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
            # No breakpoint: nothing is written, and nothing read.
            return CachePlan({"mode": "explicit"})


def cached_prefix(job: JobDocument) -> str:
    """Return the texts before the breakpoint: a schema stands before the instructions."""
    schema = "" if job.answer_schema is None else json.dumps(job.answer_schema, ensure_ascii=False)
    return schema + (job.instructions or "")


def check_prompt_cache(job: JobDocument, table: OptionTable) -> None:
    """Refuse what the job's model does not take, before anything is paid.

    Raises:
        InvalidJob: the message names the field.
    """
    terms, model = load_caching().for_model(job.model or ""), job.model
    if terms is None:
        if table.for_model(model or "") is None:
            return  # nothing is known of it
        if job.prompt_cache not in (None, PromptCache.IMPLICIT):
            raise InvalidJob(
                f"prompt_cache: {model} takes nothing but {PromptCache.IMPLICIT}: leave it out"
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
    """Count a text that many jobs share."""
    return forecast_text_tokens(text)


def _lifetime(job: JobDocument) -> dict[str, Any]:
    return {} if job.prompt_cache_ttl is None else {"ttl": job.prompt_cache_ttl}
