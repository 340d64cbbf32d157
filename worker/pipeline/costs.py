"""What a paid call costs: by the provider's own figure, else by the table of prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.pricing.prices import ORDINARY_TIERS, cost_nano_rubles
from worker.provider.usage import COST_DISBELIEVED, DISBELIEVED, DisbelievedUsage

if TYPE_CHECKING:
    from visionq.contract import Usage
    from worker.pipeline.context import Attempt

#: How often the most that a call can cost by the table may be surpassed: a seller may be dearer.
_BEYOND: Final = 15
#: Nano-rubles: the most that a call can cost whose model has no price.
_MOST: Final = 10_000 * 10**9


def most_believed(attempt: Attempt) -> int:
    """Return the most nano-rubles that the provider is believed to have charged for the call."""
    return attempt.worst_case * _BEYOND or _MOST


def cost_of(attempt: Attempt, usage: Usage | None) -> int:
    """Return nano-rubles for a paid call: as told or counted, else the most that it can be."""
    return priced(attempt, usage)[0]


def priced(attempt: Attempt, usage: Usage | None) -> tuple[int, bool, tuple[str, ...]]:
    """Return the nano-rubles of a paid call, whether they are an estimate, and what to say of it.

    What the provider says that the call cost comes before any count of ours.
    """
    told = attempt.told_cost
    if told.nano_rubles is not None:
        return told.nano_rubles, False, ()
    cost, is_estimate, warnings = by_table(attempt, usage)
    if told.is_disbelieved:
        return cost, True, (COST_DISBELIEVED, *warnings)
    return cost, is_estimate, warnings


def by_table(attempt: Attempt, usage: Usage | None) -> tuple[int, bool, tuple[str, ...]]:
    """Return the same by the table of prices alone."""
    price = attempt.tools.prices.for_model(attempt.model)
    if price is None:
        return 0, True, (f"no price is known for {attempt.model}: the cost is not counted",)
    if usage is None:
        warning = "the provider did not say what it counted: the cost is the most it can be"
        return attempt.worst_case, True, (warning,)
    if isinstance(usage, DisbelievedUsage):
        return attempt.worst_case, True, (DISBELIEVED,)
    asked, served = attempt.job.service_tier, attempt.served_tier
    tier = _billed_tier(asked, served)
    if price.tier_factor(tier) is None:
        warning = f"service_tier {tier}, which nobody asked for, has no price: the bill may differ"
        return cost_nano_rubles(price, usage, asked), True, (warning,)
    return cost_nano_rubles(price, usage, tier), not price.confirmed, ()


def _billed_tier(asked: str | None, served: str | None) -> str | None:
    """Return the tier that is paid for: where the one asked for is full, the ordinary one serves.

    A call at `fast` is told to be served at `priority` (openai 3.57), so any other name stands for
    the tier that was asked for.
    """
    if served is None or (served not in ORDINARY_TIERS and asked not in ORDINARY_TIERS):
        return asked
    return served
