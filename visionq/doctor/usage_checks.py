"""Whether models count as their tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from visionq.doctor.findings import Finding, ok, warning
from visionq.ledger.usage import read_calibrations, split_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from visionq.ledger.usage import Calibration

CHECK: Final = "forecast.drift"
_ADVICE: Final = (
    "forecasts and reserves follow the answers by themselves; correct the table by a file of your"
    " own in VISIONQ_VISION_FILE, so that a fresh Redis begins right"
)


def usage_findings(redis: Redis) -> list[Finding]:
    """Return what answers tell of the table of tokens."""
    return drift_findings(read_calibrations(redis))


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
