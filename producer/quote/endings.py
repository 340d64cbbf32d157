"""Whether the models of a quote are there, and for long enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from visionq.pricing.model_list import ModelList, said_of_unlisted
from visionq.pricing.models import ModelEnd, end_of, in_its_place, warning_for

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from visionq.pricing.vision import VisionRules


@dataclass(frozen=True, slots=True)
class Endings:
    """When models end, against the day on which the work would be done."""

    today: date
    done_on: date
    #: What the provider lists; None: not known.
    listed: ModelList | None = None

    def end_of(self, model: str) -> ModelEnd | None:
        """Return when a model ends, by the provider's list or the table."""
        return end_of(model, self.listed.ends if self.listed else {})

    def is_outlived(self, model: str) -> bool:
        """Return whether the model ends before the work would be done."""
        end = self.end_of(model)
        return end is not None and end.on <= self.done_on

    def warnings(self, models: Iterable[str], rules: VisionRules) -> tuple[str, ...]:
        """Return a line for each model that ends early, and for each that the provider lacks."""
        names = sorted(set(models))
        said = [
            *(said_of_unlisted(name, self.listed, rules, self.today) for name in names),
            *map(self._said_of_end, names),
        ]
        return tuple(line for line in said if line)

    def _said_of_end(self, model: str) -> str | None:
        end = self.end_of(model)
        if end is None or not self.today < end.on <= self.done_on:
            return warning_for(model, self.today, self.listed.ends if self.listed else {})
        return (
            f"model {model} shuts down on {end.on} ({end.source}), and this work would be done on"
            f" {self.done_on} at the present pace: what is left by then fails{in_its_place(end)}"
        )
