"""Cap the usage that the provider reports at what the call can have counted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from visionq.contract import Api, Usage
from visionq.pricing.money import NANO
from visionq.providers import find_field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from visionq.providers import CostTerms

#: Beside the result of a call whose usage is not believed.
DISBELIEVED: Final = (
    "the provider reported more tokens than the call can count: the cost is the most it can be"
)
#: Beside the result of a call whose cost, as the provider says it, is not believed.
COST_DISBELIEVED: Final = (
    "the provider reported a cost that the call can't have: it is settled by the table of prices"
)
#: Characters of a number that are looked at, as many as any amount of rubles has.
_LONGEST_AMOUNT: Final = 64
#: Nano-rubles, more than anybody has.
_ANY_COST: Final = 10**18
#: Tokens that no call of any model counts.
_MOST: Final = 100_000_000
#: How often the table's forecast of the input, and the limit of the answer, may be surpassed: a
#: table may be wrong, a limit is the provider's own to keep.
_INPUT_BEYOND: Final = 15
_OUTPUT_BEYOND: Final = 2

_TIER: Final = re.compile(r"[a-z][a-z_]{0,31}")

_SIDES: Final = {Api.RESPONSES: ("input", "output"), Api.CHAT_COMPLETIONS: ("prompt", "completion")}


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected usage of a call."""

    #: By the table alone: what was learned from answers does not widen what is believed.
    input_tokens: int
    #: For which money is reserved.
    reserved_input: int
    longest_answer: int


class DisbelievedUsage(Usage):
    """The fallback for impossible usage: the whole reservation."""


@dataclass(frozen=True, slots=True)
class ReportedCost:
    """The cost of a call, as the provider reports it."""

    #: None: it does not say, or nothing that can be believed.
    nano_rubles: int | None = None
    is_disbelieved: bool = False


def read_cost(body: object, terms: CostTerms | None, most: int) -> ReportedCost:
    """Read the cost that an answer carries, rounded up to the next nano-ruble.

    What is no finite number from 0 up to `most` nano-rubles is not believed.
    """
    value = None if terms is None else find_field(body, terms.field)
    if terms is None or value is None:
        return ReportedCost()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return ReportedCost(is_disbelieved=True)
    try:
        # A float is written as the decimal that it was read from, to its fifteenth digit.
        reported = Decimal(str(value)[:_LONGEST_AMOUNT])
        amount = reported * terms.rate * NANO
        is_believed = reported >= 0 and amount <= most
    except ArithmeticError:  # no number, or none that can be compared
        return ReportedCost(is_disbelieved=True)
    return ReportedCost(ceil(amount)) if is_believed else ReportedCost(is_disbelieved=True)


def is_charged(body: object, terms: CostTerms | None) -> bool:
    """Return whether an answer says that it cost something, however much."""
    return bool(read_cost(body, terms, _ANY_COST).nano_rubles)


def credible(usage: Usage | None) -> Usage | None:
    """Return the usage that the provider reported; None if it is not credible."""
    return None if isinstance(usage, DisbelievedUsage) else usage


def read_usage(body: Mapping[str, Any], api: Api, expected: Expected | None = None) -> Usage | None:
    """Read the count of a reply; one without input is a gateway's placeholder.

    A count beyond what the call can count is none: the call then counts as what was reserved for
    it, as a `DisbelievedUsage`. Without `expected`, such a count is dropped.
    """
    usage = _dict(body.get("usage"))
    into, out = _SIDES[api]
    counted, answered = (_count(usage.get(f"{side}_tokens")) for side in (into, out))
    if not counted or answered is None:
        return None
    if not _is_believable(counted, answered, expected):
        return _reserved(expected)
    read = _dict(usage.get(f"{into}_tokens_details"))
    cached = min(_count(read.get("cached_tokens")) or 0, counted)
    written = min(_count(read.get("cache_write_tokens")) or 0, counted - cached)
    by_lifetime = _dict(read.get("cache_write_tokens_details"))
    reasoning = _dict(usage.get(f"{out}_tokens_details")).get("reasoning_tokens")
    return Usage(
        input_tokens=counted,
        output_tokens=answered,
        cached_tokens=cached,
        reasoning_tokens=min(_count(reasoning) or 0, answered),
        cache_write_tokens=written,
        cache_write_12h_tokens=min(_count(by_lifetime.get("ttl_12h_tokens")) or 0, written),
    )


def read_tier(body: object) -> str | None:
    """Return the service tier in a reply (openai 3.57), or None."""
    tier = _dict(body).get("service_tier")
    return tier if isinstance(tier, str) and _TIER.fullmatch(tier) else None


def _reserved(expected: Expected | None) -> Usage | None:
    if expected is None:
        return None
    return DisbelievedUsage(
        input_tokens=expected.reserved_input, output_tokens=expected.longest_answer
    )


def _is_believable(counted: int, answered: int, expected: Expected | None) -> bool:
    if expected is None:
        return max(counted, answered) <= _MOST
    most_input = max(expected.input_tokens * _INPUT_BEYOND, expected.reserved_input)
    most_output = expected.longest_answer * _OUTPUT_BEYOND
    return counted <= min(most_input, _MOST) and answered <= min(most_output, _MOST)


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count and isinstance(value, int) else None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
