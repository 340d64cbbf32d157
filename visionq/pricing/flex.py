"""The tier between online and a batch: answered in one call, slower, and cheaper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.providers import load_profile

if TYPE_CHECKING:
    from decimal import Decimal

    from visionq.pricing.prices import PriceTable
    from visionq.providers import ProviderProfile
    from visionq.settings import Settings

#: As requests and the price table name it.
FLEX: Final = "flex"
#: Seconds that are kept for asking at the ordinary tier what flex has not answered.
MARGIN: Final = 300.0


def longest_call(settings: Settings) -> float:
    """Return the seconds that a worker's call may take, at any tier."""
    flex = load_profile(settings.provider).flex
    return max(settings.request_timeout, flex.longest_seconds if flex else 0)


def flex_factor(prices: PriceTable, profile: ProviderProfile, model: str) -> Decimal | None:
    """Return the factor of flex on the price; None: absent, or no cheaper."""
    price = prices.for_model(model)
    factor = price.service_tiers.get(FLEX) if price else None
    is_there = profile.flex is not None and not profile.is_routed(model)
    return factor if is_there and factor is not None and factor < 1 else None


def seconds_of_flex(prices: PriceTable, profile: ProviderProfile, model: str) -> float | None:
    """Return the seconds a job needs for flex; None without such a tier."""
    if profile.flex is None or flex_factor(prices, profile, model) is None:
        return None
    return profile.flex.longest_seconds + MARGIN
