"""What the provider's prompt cache will read and write of the rows of a group."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from visionq.pricing.caching import load_caching
from visionq.pricing.prompt_cache import cache_plan, cached_prefix
from visionq.pricing.vision import forecast_text_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionq.contract import JobDocument, PromptCache
    from visionq.ledger.usage import Calibration, Output

#: Prefixes that are told apart; of any more each row is taken to write its own.
_MOST_PREFIXES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Prefix:
    """The part of a job's prompt that the provider is to keep."""

    tokens: int = 0
    digest: str = ""
    #: The provider keeps whole prompts, as it likes: the tokens are what it is known to read again.
    whole: bool = False
    #: The provider is told what to keep, be it nothing.
    told: bool = True


@dataclass
class SharedPrefixes:
    """The prefixes of a group, in tokens by the tables."""

    #: Of rows that are the first with theirs, and of those that find it in the cache.
    written: int = 0
    read: int = 0
    #: Rows whose whole prompt is written, and what they find of it in the cache.
    whole: int = 0
    whole_read: int = 0
    #: Rows whose model is told what to keep.
    told: int = 0
    _seen: set[str] = field(default_factory=set)

    def add(self, prefix: Prefix) -> None:
        """Count a row."""
        self.told += prefix.told
        self.whole += prefix.whole
        if prefix.digest in self._seen:
            self.read += prefix.tokens
            self.whole_read += prefix.tokens if prefix.whole else 0
            return
        self.written += 0 if prefix.whole else prefix.tokens
        if prefix.tokens and len(self._seen) < _MOST_PREFIXES:
            self._seen.add(prefix.digest)


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens that are read from the cache and written to it, and the most that can be written."""

    read: float = 0
    written: float = 0
    most_written: float = 0


def prefix_of(job: JobDocument, default: PromptCache | None) -> Prefix:
    """Return what the provider is to keep of a job; `default` is VISIONQ_PROMPT_CACHE."""
    plan, terms = cache_plan(job, default), load_caching().for_model(job.model or "")
    if plan is None or terms is None:
        return Prefix(told=False)
    whole = not plan.options.get("mode")
    text = cached_prefix(job) if plan.breakpoint or whole else ""
    tokens = forecast_text_tokens(text)
    if tokens < terms.min_tokens:
        return Prefix(whole=whole)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Prefix(tokens, digest, whole)


def cache_use(
    shared: SharedPrefixes,
    rows: int,
    each: float,
    questions: Mapping[str, int],
    *,
    outputs: Mapping[str, Output],
    calibration: Calibration | None,
) -> CacheUse:
    """Return what `rows` of `each` tokens of input on average will read and write.

    As answers to the same questions have told; else as is asked for; else, of a model that is told
    nothing of its cache, as its answers have told.
    """
    read = written = known = 0.0
    for question, count in questions.items():
        output = outputs.get(question)
        if output is not None and output.cached is not None:
            known += count
            read += min(each, output.cached) * count
            written += output.written * max(0.0, each - output.cached) * count
    factor = calibration.texts if calibration else 1.0
    of_parts = shared.written + shared.read - shared.whole_read
    most = shared.whole * each + of_parts * factor
    rest = 1 - known / max(1, rows)
    if shared.told:
        read += shared.read * factor * rest
        whole = max(0.0, shared.whole * each - shared.whole_read * factor)
        written += (shared.written * factor + whole) * rest
    elif calibration is not None:
        read += calibration.cached * each * rows * rest
        written += calibration.written * each * rows * rest
        most = calibration.written * each * rows
    return CacheUse(read, written, max(most, written))
