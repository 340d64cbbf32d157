"""Price and end of the same work by each lane: online, in batches, by a deadline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Final

from producer.quote.document import LaneQuote, RubleSpan
from visionq.pricing.batch_lane import FIRST_GUESS, STOPPING, usual_seconds
from visionq.pricing.flex import flex_factor, seconds_of_flex
from visionq.pricing.money import rubles
from visionq.pricing.prices import ORDINARY_TIERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from producer.quote.census import Group, Kind
    from producer.quote.estimate import Estimate
    from producer.quote.model_facts import BatchesSeen
    from visionq.pricing.batch_lane import BatchLimits, BatchTable
    from visionq.pricing.prices import PriceTable
    from visionq.providers import ProviderProfile

#: Share of lines that come back unanswered, and are asked online: judged, until batches have shown.
UNANSWERED: Final = Fraction(5, 100)
_HOUR: Final = 3600

Cost = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """Rows of one model, with tokens and costs in nano-rubles: low, expected, high."""

    model: str
    tokens: float
    online: Cost
    #: None: the model has no such tier, or no batches.
    flex: Cost | None
    batch: Cost | None
    limits: BatchLimits
    window: float
    #: Seconds that the last batches of the model took.
    took: tuple[float, ...] = ()
    #: Seconds before its moment from which on a row is not asked at flex any more.
    flex_seconds: float = 0.0
    #: Why the provider takes no batches of it; empty: as far as is known it does.
    refused: str = ""
    #: What the batch of one line costs that has to show it first; None: others have.
    first_line: int | None = None

    def plus(self, other: LaneFacts) -> LaneFacts:
        """Return these rows and more of the same model."""
        both = self.batch is not None and other.batch is not None
        return replace(
            self,
            tokens=self.tokens + other.tokens,
            online=_sum([self.online, other.online]),
            flex=_sum([self.flex, other.flex]) if self.flex and other.flex else None,
            batch=_sum([self.batch or self.online, other.batch or other.online]) if both else None,
        )

    @property
    def rounds(self) -> int:
        """Rounds of batches, since only this many tokens may be enqueued at once."""
        return max(1, ceil(self.tokens / self.limits.enqueued_tokens))

    @property
    def longest(self) -> float:
        """Seconds within which a batch is back."""
        return max(self.took, default=self.window)

    @property
    def usual(self) -> float:
        """Seconds that a batch is expected to take, as the scheduler expects it."""
        return usual_seconds(self.took)


#: Seconds: ten years.
_LONGEST: Final = 10 * 366 * 24.0 * _HOUR


@dataclass(frozen=True)
class LaneTables:
    """Assumptions about the lanes before any batch."""

    prices: PriceTable
    batches: BatchTable
    profile: ProviderProfile


def lane_facts(
    groups: Mapping[Kind, Group],
    made: Mapping[Kind, Estimate],
    tables: LaneTables,
    seen: Mapping[str, BatchesSeen],
) -> tuple[LaneFacts, ...]:
    """Return the facts of each model; empty if a price is missing."""
    found: dict[str, LaneFacts] = {}
    for kind, one in made.items():
        if one.cost is None:
            return ()
        facts = _facts(kind[0], groups[kind], one.cost, one.input.expected, tables, seen)
        before = found.get(kind[0])
        found[kind[0]] = facts if before is None else before.plus(facts)
    return tuple(found.values())


def _facts(  # noqa: PLR0917  # what a lane depends on
    model: str,
    group: Group,
    cost: Cost,
    tokens: float,
    tables: LaneTables,
    seen: Mapping[str, BatchesSeen],
) -> LaneFacts:
    price, terms = tables.prices.for_model(model), tables.profile.batches
    known = seen.get(model)
    is_ordinary = set(group.tiers) <= set(ORDINARY_TIERS)
    there = terms is not None and all(tables.profile.has_batches(model, api) for api in group.apis)
    refused = known.refused if known else ""
    flex = None
    if is_ordinary and not (known and known.flex_refused):
        flex = flex_factor(tables.prices, tables.profile, model)
    factor = price and (price.batch_factor or tables.prices.batch_factor)
    batch = _times(cost, factor) if factor and there and is_ordinary and not refused else None
    is_proven = known is not None and known.is_proven
    return LaneFacts(
        model=model,
        tokens=tokens,
        online=cost,
        flex=_times(cost, flex) if flex else None,
        batch=batch,
        limits=tables.batches.for_model(model),
        window=terms.window_hours * _HOUR if terms else 0,
        took=known.took if known else (),
        flex_seconds=seconds_of_flex(tables.prices, tables.profile, model) or 0.0,
        refused=refused if there else "",
        first_line=batch[1] // max(1, group.rows) if batch and not is_proven else None,
    )


def _times(cost: Cost, factor: Decimal) -> Cost:
    low, expected, high = (ceil(Fraction(factor) * each) for each in cost)
    return low, expected, high


def quote_lanes(
    facts: Sequence[LaneFacts], seconds: float | None, by: datetime | None, now: datetime
) -> tuple[LaneQuote, ...]:
    """Return the quote of each available lane.

    Args:
        facts: the rows of each model, all with a price.
        seconds: what the online lane takes for all rows; None: nobody knows.
        by: when the answers are needed.
        now: when the work begins.
    """
    if not facts:
        return ()
    online_done = None if seconds is None else _after(seconds, now)
    rub = _span([one.online for one in facts])
    lanes = [LaneQuote(lane="online", rub=rub, done=online_done, in_batches=0)]
    if all(one.flex for one in facts):
        rub = _span([one.flex or one.online for one in facts])
        lanes.append(LaneQuote(lane="flex", rub=rub, done=None, in_batches=0))
    if any(one.batch for one in facts):
        lanes.append(_batch(facts, online_done, now))
    if by is not None and any(one.batch or one.flex for one in facts):
        lanes.append(_auto(facts, seconds or 0.0, by, now))
    return tuple(lanes)


def _batch(facts: Sequence[LaneFacts], online_done: datetime | None, now: datetime) -> LaneQuote:
    """Return the quote of everything in batches; models without them go online."""
    longest = max(one.rounds * one.longest for one in facts if one.batch)
    done = _after(longest, now)
    if done is not None and online_done is not None and any(one.batch is None for one in facts):
        done = max(done, online_done)
    return LaneQuote(
        lane="batch",
        rub=_span([one.batch or one.online for one in facts]),
        done=done,
        in_batches=_share(facts, [Fraction(bool(one.batch)) for one in facts]),
    )


def _auto(facts: Sequence[LaneFacts], seconds: float, by: datetime, now: datetime) -> LaneQuote:
    """Return the quote of each row at the cheapest lane that its time allows."""
    left = (by - now).total_seconds() - float(UNANSWERED) * seconds
    shares = [_share_in_batches(one, left) for one in facts]
    cheap = [_cheap(one, share, left) for one, share in zip(facts, shares, strict=True)]
    expected = sum(
        ceil(share * cost[1] + (1 - share) * one.online[1])
        for one, (share, cost) in zip(facts, cheap, strict=True)
    )
    low = sum(cost[0] for _, cost in cheap)
    rub = RubleSpan.of((low, expected, _sum([one.online for one in facts])[2]))
    late = _after(seconds, now)
    return LaneQuote(
        lane="auto", rub=rub, done=late and max(by, late), in_batches=_share(facts, shares)
    )


def _share_in_batches(one: LaneFacts, left: float) -> Fraction:
    rounds = min(one.rounds, max(0, int((left - STOPPING) // one.usual)))
    return Fraction(rounds, one.rounds) * (1 - UNANSWERED) if one.batch else Fraction(0)


def _cheap(one: LaneFacts, share: Fraction, left: float) -> tuple[Fraction, Cost]:
    """Return the share that is cheaper than online, and the cost of all there."""
    if share and one.batch:
        return share, one.batch
    if one.flex and left > one.flex_seconds:
        return 1 - UNANSWERED, one.flex
    return Fraction(0), one.online


def _after(seconds: float, now: datetime) -> datetime | None:
    """Return the time after these seconds, or None where that is no plan any more."""
    return now + timedelta(seconds=seconds) if seconds <= _LONGEST else None


def _share(facts: Sequence[LaneFacts], shares: Sequence[Fraction]) -> float:
    whole = sum(one.tokens for one in facts) or 1
    pairs = zip(facts, shares, strict=True)
    return round(sum(one.tokens * float(share) for one, share in pairs) / whole, 3)


def _sum(costs: Sequence[Cost]) -> Cost:
    low, expected, high = (sum(each) for each in zip(*costs, strict=True))
    return low, expected, high


def _span(costs: Sequence[Cost]) -> RubleSpan:
    return RubleSpan.of(_sum(costs))


def lane_notes(facts: Sequence[LaneFacts], lanes: Sequence[LaneQuote]) -> Iterator[str]:
    """Yield the assumptions of the lanes."""
    kinds = {one.lane: one for one in lanes}
    for one in facts:
        if one.refused:
            yield f"the provider takes no batches of {one.model} ({one.refused}): it goes online"
        elif one.batch is None:
            continue
        elif one.took:
            span = f"{_hours(min(one.took))} to {_hours(max(one.took))}"
            yield f"half price of {one.model}: the last {len(one.took)} batches took {span}"
        else:
            yield (
                f"half price of {one.model}: a batch may take {_hours(one.window)}; auto counts on"
                f" {_hours(FIRST_GUESS)}, since none has shown more"
            )
        if one.first_line is not None:
            yield (
                f"half price of {one.model}: the first batch is one line, for about"
                f" {rubles(one.first_line):.4f} ₽, which shows whether pictures are taken in it"
            )
        if one.batch is not None and one.rounds > 1:
            yield (
                f"half price of {one.model}: {one.rounds:,} rounds of batches, since"
                f" {one.limits.enqueued_tokens:,} tokens may be enqueued at once"
            )
    if "auto" in kinds and kinds["auto"].in_batches:
        yield f"auto counts on {float(UNANSWERED):.0%} of the lines coming back unanswered"
    if "flex" in kinds:
        yield "flex is slower, and refused at times: how slow is not known"


def _hours(seconds: float) -> str:
    hours = seconds / _HOUR
    return f"{hours:.0f} h" if hours >= 10 or hours == int(hours) else f"{hours:.1f} h"  # noqa: PLR2004
