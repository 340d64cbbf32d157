"""Counts of attempts, for metrics and forecasts; one script writes many."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from visionq.ledger.calls import lane_of
from visionq.ledger.records import Billing
from visionq.ledger.scripts import Call
from visionq.ledger.usage import usage_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from visionq.contract import JobDocument
    from visionq.ledger.records import Ending, UsageNote


@dataclass(frozen=True, slots=True)
class AttemptStatistics:
    """The counts of one attempt, and the usage of its call."""

    lane: str
    #: As `Ending.counted`.
    fields: Mapping[str, int]
    #: Whether its model was paid for an answer, and so has series of its own from then on.
    is_paid: bool
    usage: UsageNote | None


def statistics_of(document: JobDocument, ending: Ending) -> AttemptStatistics:
    """Return the statistics of an ending, for `add_statistics`."""
    is_paid = ending.billing is Billing.SETTLED
    return AttemptStatistics(
        lane_of(document), ending.counted, is_paid, ending.usage if is_paid else None
    )


def add_statistics(attempts: Sequence[AttemptStatistics]) -> Call[None]:
    """Add counts of attempts to the metrics and to the learned statistics."""
    lanes: dict[str, Counter[str]] = {}
    for one in attempts:
        lanes.setdefault(one.lane, Counter()).update(one.fields)
    answered = {one.lane for one in attempts if one.is_paid}
    told = {
        "lanes": [
            {
                "lane": lane,
                "is_answered": lane in answered,
                "counted": {field: str(amount) for field, amount in fields.items() if amount > 0},
            }
            for lane, fields in lanes.items()
        ],
        "usage": [
            usage_fields(one.usage) for one in attempts if one.usage and one.usage.is_forecast
        ],
    }
    return Call("add_statistics", (json.dumps(told, ensure_ascii=False),), lambda _: None)
