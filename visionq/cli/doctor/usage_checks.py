"""Whether models count as their tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.cli.doctor.findings import Detail, Finding, ok, warning
from visionq.ledger.usage import read_calibrations, read_cost_ratios, split_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from visionq.ledger.usage import Calibration

CHECK: Final = "forecast.drift"
COSTS: Final = "prices.bill"
#: How far prices may be from what is charged: what a rounding of each call adds.
_SAME_COST: Final = 0.001
_PRICES: Final = (
    "calls are booked at what it charges; correct the prices by a file of your own in"
    " VISIONQ_PRICES_FILE, so that quotes and reserves are right too"
)
_ADVICE: Final = (
    "forecasts and reserves follow the answers by themselves; correct the table by a file of your"
    " own in VISIONQ_VISION_FILE, so that a fresh Redis begins right"
)


def usage_findings(redis: Redis) -> list[Finding]:
    """Return what answers tell of the tables of tokens and of prices."""
    return [*drift_findings(read_calibrations(redis)), *cost_findings(read_cost_ratios(redis))]


def cost_findings(ratios: Mapping[str, float]) -> list[Finding]:
    """Return how the table of prices compares with what the provider says that calls cost."""
    found = []
    for model, ratio in sorted(ratios.items()):
        said = f"{model}: the provider charges {ratio:.4g} of what the table of prices says"
        details: dict[str, Detail] = {"model": model, "factor": round(ratio, 6)}
        is_right = abs(ratio - 1) <= _SAME_COST
        say = ok(COSTS, said, **details) if is_right else warning(COSTS, said, _PRICES, **details)
        found.append(say)
    return found


def drift_findings(calibrations: Mapping[str, Calibration | None]) -> list[Finding]:
    """Return a warning for each model and detail that counts otherwise, else that all is well."""
    known = {kind: one for kind, one in calibrations.items() if one is not None}
    found = [
        warning(
            CHECK,
            f"{model} at detail {detail}{f', effort {effort}' if effort else ''} counts"
            f" {one.factor:.2f} of the forecast (by {one.answers} answers)",
            _ADVICE,
            model=model,
            detail=detail,
            effort=effort,
            factor=round(one.factor, 4),
            answers=one.answers,
        )
        for kind, one in sorted(known.items())
        if one.has_drifted
        for model, detail, effort in [split_kind(kind)]
    ]
    if found or not known:
        return found
    return [ok(CHECK, "models count as the table says", kinds=len(known))]
