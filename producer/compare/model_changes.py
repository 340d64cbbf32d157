"""What changes for a job that asks another model: prices, meanings, options, limits, its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from visionq.contract import Api, Detail
from visionq.pricing.batch_lane import load_batch_table
from visionq.pricing.model_options import Temperature, load_option_table
from visionq.pricing.models import end_of
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import image_tokens, load_rules
from visionq.providers import load_profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from visionq.settings import Settings

#: A photo as it usually comes, in pixels.
_PHOTO: Final = (1024, 768)
_UNKNOWN: Final = "not known"
_TEMPERATURES: Final = {
    Temperature.ALWAYS: "taken",
    Temperature.WITHOUT_REASONING: "without reasoning",
    Temperature.NEVER: "refused",
}


@dataclass(frozen=True, slots=True)
class ChangedFact:
    """One fact about two models."""

    what: str
    before: str
    after: str


def model_changes(
    before: str, after: str, settings: Settings, listed: Mapping[str, date]
) -> list[ChangedFact]:
    """Return what differs between two models, the price in any case.

    `listed` has the ends of models by the provider's own list.
    """
    facts = [dict(_facts(model, settings, listed)) for model in (before, after)]
    return [
        ChangedFact(what, facts[0][what], facts[1][what])
        for what in facts[0]
        if what.startswith("₽") or facts[0][what] != facts[1][what]
    ]


def _facts(model: str, settings: Settings, listed: Mapping[str, date]) -> Iterator[tuple[str, str]]:
    price = load_prices(settings.prices_file).for_model(model)
    rules = load_rules(settings.vision_file)
    options, profile = load_option_table(settings.options_file), load_profile(settings.provider)
    yield "₽ a million in / out", f"{price.input:f} / {price.output:f}" if price else _UNKNOWN
    family = rules.family_of(model)
    for detail in (Detail.AUTO, Detail.LOW, Detail.HIGH):
        tokens = image_tokens(rules, model, detail, *_PHOTO)
        meant = f" ({family.meaning(detail)})" if family and detail is Detail.AUTO else ""
        known = "" if family else " at most"
        yield f"tokens of 1024 x 768, detail {detail}", f"{tokens:,}{known}{meant}"
    row = options.for_model(model)
    yield "effort by default", options.effort_of(model, settings.default_effort) or "none is sent"
    yield "efforts", ", ".join(row.efforts) or "none" if row else _UNKNOWN
    yield "temperature", _TEMPERATURES[row.temperature] if row else _UNKNOWN
    yield "JSON Schema", _yes(row.structured_outputs) if row else _UNKNOWN
    yield "most pictures in a call", f"{rules.request_of(model).max_images:,}"
    has_batches = any(profile.has_batches(model, api) for api in Api)
    lines = load_batch_table(settings.batches_file).for_model(model).lines
    yield "batches at half price", f"up to {lines:,} lines" if has_batches else "no"
    end = end_of(model, listed)
    yield "ends", str(end.on) if end else "not announced"


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
