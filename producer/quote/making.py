"""Make a quote: the price of a source with this and other models."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Final

from producer.quote.census import Group, QuotePlan, take_census
from producer.quote.document import (
    CropsQuote,
    ModelQuote,
    NearPairQuote,
    Quote,
    RefusedRow,
    RubleSpan,
)
from producer.quote.estimate import GUESSED_OUTPUT, estimate
from producer.quote.lanes import LaneTables, lane_facts, lane_notes, quote_lanes
from producer.quote.model_facts import Shutdowns
from producer.quote.near_pairs import MOST_LOOKED_AT
from visionq.contract import Detail
from visionq.crops import cropped_tokens
from visionq.data import bare_model
from visionq.ledger.usage import Output, kind_of
from visionq.pricing.batch_lane import load_batch_table
from visionq.pricing.model_options import load_option_table
from visionq.pricing.money import rubles
from visionq.pricing.vision import image_tokens, most_image_tokens
from visionq.providers import load_profile
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from producer.quote.census import Census, Kind
    from producer.quote.estimate import Estimate
    from producer.quote.lanes import LaneFacts
    from producer.quote.model_facts import LearnedStatistics
    from producer.sources import BadRow, Row
    from visionq.ledger.usage import TokenCalibration
    from visionq.pricing.model_options import OptionTable
    from visionq.pricing.prices import PriceTable
    from visionq.pricing.vision import VisionRules

#: Share by which a seller may leave the price table without a word.
_NOTED: Final = 0.005


def make_quote(
    rows: Iterable[Row | BadRow],
    plan: QuotePlan,
    prices: PriceTable,
    statistics: LearnedStatistics,
    *,
    now: datetime,
) -> Quote:
    """Read the rows once and return the price of asking about them.

    Raises:
        InvalidSource: the source can't be read to its end.
    """
    census = take_census(rows, plan)
    estimates = _estimated(census.groups, prices, statistics)
    made, prices = estimates.made, estimates.prices
    asked = sum(group.rows for group in census.groups.values())
    per_minute = statistics.per_minute()
    seconds = round(asked * 60 / per_minute, 1) if per_minute else None
    end = now + timedelta(seconds=seconds or 0)
    taken = sum(one.input.expected for one in made.values())
    given = sum(one.output.expected for one in made.values())
    facts = _lane_facts(census.groups, estimates, plan, statistics)
    lanes = quote_lanes(facts, seconds, census.by, now)
    shutdowns = Shutdowns(now.date(), end.date(), statistics.model_list())
    chosen = _chosen(estimates, shutdowns)
    return Quote(
        rows=census.rows,
        pictures=census.pictures,
        asked=asked,
        refused=dict(census.refused.most_common()),
        refusals=tuple(RefusedRow(**asdict(one)) for one in census.examples),
        duplicates=census.duplicates,
        stored=census.stored,
        near=census.near,
        joined=census.joined,
        near_pairs=tuple(NearPairQuote(**asdict(one)) for one in census.near_pairs),
        unseen=census.unseen,
        crops=_crops(census, estimates),
        read_bytes=census.read_bytes,
        tokens=round(taken + given),
        input_tokens=round(taken),
        output_tokens=round(given),
        rub=_sum(made),
        seconds=seconds,
        per_minute=per_minute,
        lanes=lanes,
        chosen=chosen,
        models=_compare(census, plan, prices, statistics, given / max(1, asked), shutdowns, chosen),
        warnings=shutdowns.warnings((kind[0] for kind in made), plan.rules),
        notes=(*_notes_of_seller(estimates), *lane_notes(facts, lanes), *_notes(census, estimates)),
    )


@dataclass(frozen=True, slots=True)
class _Estimates:
    """The estimates of the requested models, and what they are made with."""

    made: Mapping[Kind, Estimate]
    #: As the seller has charged them, and by which share that differs from the price table.
    prices: PriceTable
    ratios: Mapping[str, float]
    calibrations: Mapping[str, TokenCalibration | None]
    outputs: Mapping[str, Output]

    def estimate(self, kind: Kind, group: Group) -> Estimate:
        """Return the estimate of rows that ask this model."""
        return estimate(group, self.prices.for_model(kind[0]), self.calibration(kind), self.outputs)

    def calibration(self, kind: Kind) -> TokenCalibration | None:
        """Return how the model's token counts differ from the tables, if enough is known."""
        return self.calibrations.get(kind_of(*kind))


def _estimated(
    groups: Mapping[Kind, Group], prices: PriceTable, statistics: LearnedStatistics
) -> _Estimates:
    calibrations = statistics.calibrations([kind_of(*kind) for kind in groups])
    questions = [question for group in groups.values() for question in group.questions]
    outputs, ratios = statistics.outputs(questions), statistics.cost_ratios()
    empty = _Estimates({}, prices.as_charged(ratios), ratios, calibrations, outputs)
    made = {kind: empty.estimate(kind, group) for kind, group in groups.items()}
    return replace(empty, made=made)


def _lane_facts(
    groups: Mapping[Kind, Group],
    estimates: _Estimates,
    plan: QuotePlan,
    statistics: LearnedStatistics,
) -> tuple[LaneFacts, ...]:
    batches = load_batch_table(plan.settings.batches_file)
    tables = LaneTables(estimates.prices, batches, load_profile(plan.settings.provider))
    made = estimates.made
    return lane_facts(groups, made, tables, statistics.batches_seen([kind[0] for kind in made]))


def _crops(census: Census, estimates: _Estimates) -> CropsQuote:
    """Compare with the same rows without crops."""
    tokens, cost, is_priced = 0.0, 0, True
    for kind, group in census.groups.items():
        if not group.crop_pictures:
            continue
        whole = replace(
            group,
            pictures=group.pictures - group.crop_pictures,
            texts=group.texts - group.crop_texts,
        )
        without, cropped = estimates.estimate(kind, whole), estimates.made[kind]
        tokens += cropped.input.expected - without.input.expected
        if cropped.cost and without.cost:
            cost += cropped.cost[1] - without.cost[1]
        else:
            is_priced = False
    return CropsQuote(
        pictures=census.cut,
        crops=census.crops,
        tokens=round(tokens),
        rub=rubles(cost) if is_priced else None,
    )


def _chosen(estimates: _Estimates, shutdowns: Shutdowns) -> tuple[ModelQuote, ...]:
    """Return the quotes of the requested models, details and efforts."""
    return tuple(
        _model_quote(
            kind, one, estimates.prices, estimates.calibration(kind), shutdowns
        ).model_copy(update={"chosen": True})
        for kind, one in estimates.made.items()
    )


def _sum(made: Mapping[Kind, Estimate]) -> RubleSpan:
    """Add up the costs; the sum is unknown if one of them is."""
    costs = [one.cost for one in made.values()]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return RubleSpan()
    low, expected, high = (sum(cost[place] for cost in known) for place in range(3))
    return RubleSpan.of((low, expected, high))


def _model_quote(
    kind: Kind,
    made: Estimate,
    prices: PriceTable,
    calibration: TokenCalibration | None,
    shutdowns: Shutdowns,
) -> ModelQuote:
    model, detail, effort = kind
    price, ends = prices.for_model(model), shutdowns.end_of(model)
    return ModelQuote(
        model=model,
        detail=detail,
        effort=effort,
        tokens=round(made.input.expected + made.output.expected),
        rub=RubleSpan.of(made.cost) if made.cost else RubleSpan(),
        input_rub=price.input if price else None,
        output_rub=price.output if price else None,
        price_source=price.source if price else None,
        price_date=price.date if price else None,
        confirmed=bool(price and price.confirmed),
        ends=ends.on if ends else None,
        ends_before=shutdowns.is_outlived(model),
        answers=calibration.answers if calibration else 0,
        factor=round(calibration.factor, 4) if calibration else None,
    )


def _compare(  # noqa: PLR0917  # what the quote is made of
    census: Census,
    plan: QuotePlan,
    prices: PriceTable,
    statistics: LearnedStatistics,
    output: float,
    shutdowns: Shutdowns,
    chosen: Sequence[ModelQuote],
) -> tuple[ModelQuote, ...]:
    """Return the quotes of the same rows with all usable models, the cheapest first.

    A usable model has a price for their tiers, and takes a JSON Schema if they have one.

    Answers count as long as those of the chosen model, apart from each model's own reasoning. The
    chosen one has the figures of the quote.
    """
    rules, options = plan.rules, load_option_table(plan.settings.options_file)
    meant = {_meant(rules, one.model, one.detail): one for one in chosen}
    groups = census.groups.values()
    rows, texts = sum(group.rows for group in groups), sum(group.texts for group in groups)
    tiers = sum((group.tiers for group in groups), Counter())
    spoken = output - sum(group.reasoning for group in groups) / max(1, rows)
    kinds = _usable_kinds(census, plan, prices, options)
    calibrations = statistics.calibrations([kind_of(*kind) for kind in kinds])
    counted: dict[tuple[str, str], tuple[int, int]] = {}
    found = []
    for kind in kinds:
        model, detail, own = kind
        family = rules.family_of(model)
        mean = max(spoken, 1) + options.reasoning_tokens(model, own)
        key = (family.name if family else model, detail)
        if key not in counted:
            counted[key] = _picture_tokens(census, rules, model, Detail(detail))
        most, least = counted[key]
        group = Group(
            rows=rows,
            pictures=most,
            least_pictures=least,
            texts=texts,
            limits=ceil(mean) * rows,
            questions=Counter({"": rows}),
            tiers=tiers,
        )
        calibration = calibrations.get(kind_of(*kind))
        equal = {"": Output(max(1, rows), mean, 0)}
        made = estimate(group, prices.for_model(model), calibration, equal)
        if made.cost is None:
            continue
        one = _model_quote(kind, made, prices, calibration, shutdowns)
        if len(chosen) == 1 and (same := meant.get((model, detail))) is not None:
            names = ("effort", "tokens", "rub", "answers", "factor")
            one = one.model_copy(update={name: getattr(same, name) for name in names})
        found.append(one)
    return _marked(found, set(meant))


def _usable_kinds(
    census: Census, plan: QuotePlan, prices: PriceTable, options: OptionTable
) -> list[tuple[str, str, str | None]]:
    """Return each model with a price and rules, each of its details, and its effort.

    Models that take no JSON Schema are left out where rows have one.
    """
    effort = plan.options.get("effort") or plan.settings.default_effort
    has_schema = any(group.schemas for group in census.groups.values())
    return [
        (price.model, detail.value, options.effort_of(price.model, effort))
        for price in prices.prices
        if (family := plan.rules.family_of(price.model)) is not None
        and (
            not has_schema
            or (row := options.for_model(price.model)) is None
            or row.structured_outputs
        )
        for detail in family.details
    ]


def _marked(found: list[ModelQuote], chosen: set[tuple[str, str]]) -> tuple[ModelQuote, ...]:
    """Sort by cost, models that end early last; mark the cheapest and the chosen."""
    found.sort(key=lambda one: (one.ends_before, one.rub.expected or 0, one.model, one.detail))
    usable = [one for one in found if not one.ends_before and one.rub.expected]
    cheapest = usable[0] if usable else None
    return tuple(
        one.model_copy(
            update={"cheapest": one is cheapest, "chosen": (one.model, one.detail) in chosen}
        )
        for one in found
    )


def _meant(rules: VisionRules, model: str, detail: str) -> tuple[str, str]:
    """Return the model's name in the list, and its `detail` with `auto` resolved."""
    family = rules.family_of(model)
    meant = family.meaning(Detail(detail)) if family else detail
    return bare_model(model), str(meant)


def _picture_tokens(
    census: Census, rules: VisionRules, model: str, detail: Detail
) -> tuple[int, int]:
    most = least = 0
    for sizes, tokens_of in ((census.sizes, image_tokens), (census.croppable, cropped_tokens)):
        for size, count in sizes.items():
            if size is None:
                most += count * most_image_tokens(rules, model, detail)
                least += count * image_tokens(rules, model, detail, 1, 1)
            else:
                tokens = count * tokens_of(rules, model, detail, *size)
                most, least = most + tokens, least + tokens
    return most, least


def _notes_of_seller(estimates: _Estimates) -> Iterator[str]:
    """Report where the seller's prices differ from the price table."""
    for model in dict.fromkeys(kind[0] for kind in estimates.made):
        ratio = estimates.ratios.get(model, 1)
        if abs(ratio - 1) > _NOTED:
            yield (
                f"answers of {model} have cost {ratio:.3f} of what the price table says, by the"
                " provider's own word; the quote follows that"
            )


def _notes(census: Census, estimates: _Estimates) -> tuple[str, ...]:
    """Return notes about uncertain figures, and about answers that would be paid in vain."""
    notes = []
    for kind, one in estimates.made.items():
        model, detail, _ = kind
        price, calibration = estimates.prices.for_model(model), estimates.calibration(kind)
        if price is None:
            notes.append(f"{model} has no price, so its cost is not known; enter one: {ENTER}")
        elif not price.confirmed:
            notes.append(f"the price of {model} is unconfirmed; enter your own: {ENTER}")
        if calibration is None:
            notes.append(f"{model} at {detail}: by the table alone, no twenty answers so far")
        elif calibration.has_drifted:
            share = f"{calibration.factor:.2f} of what the table says"
            notes.append(f"{model} at {detail} counts {share}; the quote follows the answers")
        notes += _notes_of_answers(kind, census.groups[kind], one, known=calibration is not None)
    if census.unseen:
        more = "; long ones that are cut count more" if census.croppable[None] else ""
        notes.append(
            f"not looked into: {counted(census.unseen, 'picture')} (by address, or to be"
            f" converted): each counts as the largest that the model takes{more}"
        )
    if census.near_left_out:
        notes.append(
            "not compared with others, so perhaps near-duplicates all the same:"
            f" {counted(census.near_left_out, 'row')} (by address, plain, several pictures, or"
            f" after the first {MOST_LOOKED_AT:,})"
        )
    if census.most_reduced is not None:
        reduction, size, seen = census.most_reduced
        way_out = "; --crops cuts long ones" if census.sizes else ""
        notes.append(
            f"scaled down so far that print is lost: {counted(census.illegible, 'picture')}"
            f" (up to {reduction:.1f} times:"
            f" {size[0]}x{size[1]} to {seen[0]}x{seen[1]}){way_out}"
        )
    return tuple(dict.fromkeys(notes))


def _notes_of_answers(kind: Kind, group: Group, made: Estimate, *, known: bool) -> Iterator[str]:
    """Yield notes about the length of answers, and the room that reasoning leaves them."""
    model, _, effort = kind
    rows = max(1, group.rows)
    reasoning, limit = round(group.reasoning / rows), round(group.limits / rows)
    if not made.output_learned:
        thinking = f" and {reasoning:,} of reasoning" if reasoning else ""
        how = "that of other answers" if known else f"a guess, {GUESSED_OUTPUT} tokens{thinking},"
        yield f"how long the answers will be is not known: {how} counts; run --first 50"
    if reasoning and limit < reasoning + GUESSED_OUTPUT:
        yield (
            f"{model} is judged to spend {reasoning:,} tokens of an answer on reasoning"
            f" ({effort or 'its own effort'}), and an answer may have {limit:,}: raise"
            " --max-output-tokens, or lower --effort"
        )


#: How to enter prices.
ENTER: Final = "`visionq prices show --toml > prices.toml`, then VISIONQ_PRICES_FILE=prices.toml"
