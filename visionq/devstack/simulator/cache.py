"""The provider's prompt cache: which prefixes it has read before, and which it writes.

By OpenAI's guide and the docstrings of openai 3.57. A prefix is written at a breakpoint:
the request's own ones, and in the implicit mode the end of the prompt, from which any common
beginning is read later. Prefixes shorter than the model's least are neither written nor read.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from visionq.devstack.simulator.model_catalogue import CacheTerms

#: Seconds that a prefix is kept after it was written or last read, by its `ttl`.
LIFETIMES: Final = {"30m": 1800.0, "12h": 43_200.0}
#: Values of `prompt_cache_options.mode`, the default first.
MODES: Final = ("implicit", "explicit")
#: Breakpoints of a request that are written: its latest ones.
MOST_BREAKPOINTS: Final = 4
#: Prefixes that are remembered.
REMEMBERED: Final = 100_000


@dataclass(frozen=True)
class Segment:
    """A part of the prompt: a text or a picture."""

    content: str
    tokens: int
    breakpoint: bool = False


@dataclass(frozen=True)
class PromptPrefix:
    """The prompt up to the end of one of its parts."""

    digest: str
    tokens: int
    breakpoint: bool


@dataclass(frozen=True)
class Use:
    """Tokens that a call reads from the cache and writes to it."""

    read: int = 0
    written: int = 0
    lifetime: str = "30m"
    #: Digests of the prefixes that are then in the cache.
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class CacheOptions:
    """`prompt_cache_options` of a request."""

    mode: str = "implicit"
    lifetime: str = "30m"


def prefixes_of(model: str, segments: Iterable[Segment]) -> list[PromptPrefix]:
    """Return the prefixes of a prompt, shortest first; each model has its own cache."""
    digest, tokens, found = hashlib.sha256(model.encode("utf-8", "surrogatepass")), 0, []
    for segment in segments:
        digest.update(hashlib.sha256(segment.content.encode("utf-8", "surrogatepass")).digest())
        tokens += segment.tokens
        found.append(PromptPrefix(digest.hexdigest(), tokens, segment.breakpoint))
    return found


class PrefixCache:
    """The prefixes of one account. Only the event loop touches them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin empty; `clock` is monotonic seconds."""
        self._clock = clock
        #: Digest → until when it is kept, and for how long each time.
        self._kept: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def use(
        self, prefixes: Sequence[PromptPrefix], terms: CacheTerms, options: CacheOptions
    ) -> Use:
        """Return what a call would read and write; `keep` records it."""
        usable = [each for each in prefixes if each.tokens >= terms.min_tokens]
        marked = [each for each in usable if each.breakpoint][-MOST_BREAKPOINTS:]
        writable = usable if options.mode == "implicit" else marked
        read = max((each.tokens for each in writable if self._has(each.digest)), default=0)
        end = max((each.tokens for each in writable), default=0)
        kept = tuple(each.digest for each in writable)
        return Use(read, end - read, options.lifetime, kept)

    def keep(self, use: Use) -> None:
        """Record what a call has read and written, for later calls to read."""
        now = self._clock()
        for digest in use.kept:
            until, lifetime = self._kept.pop(digest, (0.0, 0.0))
            if until <= now:
                lifetime = LIFETIMES[use.lifetime]
            self._kept[digest] = (now + lifetime, lifetime)
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)

    def _has(self, digest: str) -> bool:
        until, _ = self._kept.get(digest, (0.0, 0.0))
        return until > self._clock()
