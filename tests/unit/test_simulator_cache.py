"""The simulator's prompt cache: what is read and written, and for how long it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest

from visionq.devstack.simulator.cache import (
    CacheOptions,
    PrefixCache,
    Segment,
    Use,
    prefixes_of,
)
from visionq.devstack.simulator.model_catalogue import CacheTerms

TERMS = CacheTerms(Decimal("1.25"), 1024, ("30m", "12h"))
IMPLICIT, EXPLICIT = CacheOptions(), CacheOptions("explicit")
#: Long enough to be cached, and too short.
LONG, SHORT = 3000, 200


@dataclass
class Account:
    """A cache with a clock that is set by hand."""

    now: float = 0

    def __post_init__(self) -> None:
        self.cache = PrefixCache(lambda: self.now)

    def call(
        self, *segments: Segment, options: CacheOptions = IMPLICIT, model: str = "m"
    ) -> tuple[int, int]:
        """Ask once; returns the tokens that are read and written."""
        use = self.cache.use(prefixes_of(model, segments), TERMS, options)
        self.cache.keep(use)
        return use.read, use.written


@pytest.fixture
def account() -> Account:
    return Account()


def instructions(tokens: int = LONG, *, marked: bool = False) -> Segment:
    return Segment("instructions", tokens, marked)


def picture(name: str) -> Segment:
    return Segment(name, 1000)


def test_implicit(account: Account) -> None:
    """The whole prompt is written; the next one reads what both begin with, and writes its rest."""
    assert account.call(instructions(), picture("a")) == (0, LONG + 1000)
    assert account.call(instructions(), picture("b")) == (LONG, 1000)
    assert account.call(instructions(), picture("b")) == (LONG + 1000, 0)
    assert account.call(Segment("others", LONG), picture("b")) == (0, LONG + 1000)
    assert account.call(instructions(), picture("b"), model="n") == (0, LONG + 1000)


def test_explicit(account: Account) -> None:
    """Nothing but the prefix up to a breakpoint is written and read; without one, nothing."""
    prompt = (instructions(marked=True), picture("a"))
    assert account.call(instructions(), picture("a"), options=EXPLICIT) == (0, 0)
    assert account.call(*prompt, options=EXPLICIT) == (0, LONG)
    assert account.call(instructions(marked=True), picture("b"), options=EXPLICIT) == (LONG, 0)
    assert account.call(instructions(), picture("b"), options=EXPLICIT) == (0, 0)
    assert account.call(instructions(), picture("b")) == (LONG, 1000), "modes share the cache"


def test_short_prompts_are_not_cached(account: Account) -> None:
    """Below 1,024 tokens nothing is written, nor read; at them it is."""
    for _ in range(2):
        assert account.call(instructions(1023)) == (0, 0)
        assert account.call(instructions(SHORT, marked=True), options=EXPLICIT) == (0, 0)
    assert account.call(Segment("others", 1024)) == (0, 1024)
    assert account.call(Segment("others", 1024)) == (1024, 0)


@pytest.mark.parametrize(("lifetime", "seconds"), [("30m", 1800), ("12h", 43_200)])
def test_lifetimes(account: Account, lifetime: str, seconds: float) -> None:
    """A prefix is kept for its lifetime since it was written or last read, and no longer."""
    options = CacheOptions("implicit", lifetime)
    assert account.call(instructions(), options=options) == (0, LONG)
    account.now += seconds - 1
    assert account.call(instructions()) == (LONG, 0)
    account.now += seconds - 1
    assert account.call(instructions()) == (LONG, 0), "reading keeps it as long as it was written"
    account.now += seconds
    assert account.call(instructions(), options=options) == (0, LONG)


def test_a_call_that_is_refused_writes_nothing(account: Account) -> None:
    """A call's effect on the cache is known before it is admitted, and happens after."""
    prefixes = prefixes_of("m", [instructions()])
    assert account.cache.use(prefixes, TERMS, IMPLICIT).written == LONG
    assert account.cache.use(prefixes, TERMS, IMPLICIT).read == 0
    account.cache.keep(Use())
    assert account.call(instructions()) == (0, LONG)
