"""From rows of OUT that all models answered to what a calibration and an audit count."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from producer.cascade.calibration import Audit, SampledRow, SampledStep
from producer.compare.answer_fields import fields_of, rules_of
from producer.compare.outcomes import row_agrees
from visionq.sureness import Sureness, agreement_sureness, field_sureness

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from producer.cascade.calibration import Threshold
    from producer.cascade.ladder import Ladder, LadderQuestion
    from producer.compare.answer_fields import FieldRule

#: Why a valid answer was not taken.
_UNSURE: Final = "unsure"


@dataclass(frozen=True)
class RowReader:
    """Reads rows that all models of a ladder have answered."""

    ladder: Ladder
    rules: Mapping[str, FieldRule]
    has_schema: bool
    #: Rubles of a row by the quote, model by model, where an answer was stored.
    quoted: Sequence[float]

    @classmethod
    def of(cls, question: LadderQuestion, quoted: Sequence[float]) -> RowReader:
        """Return the reader of a question's answers; the sureness is no part of an answer."""
        schema, sure = question.options.get("answer_schema"), question.ladder.field
        rules = {name: rule for name, rule in rules_of(schema).items() if name != sure}
        return cls(question.ladder, rules, schema is not None, quoted)

    def read(self, row: Mapping[str, Any]) -> SampledRow | None:
        """Return what the models answered, or None if one was not asked."""
        steps = row.get("steps") or []
        models = [step["model"] for step in steps]
        if row["error"] is not None or models != list(self.ladder.models[:-1]):
            return None
        known = fields_of(row)
        spent = sum(float(step["cost_rub"]) for step in steps)
        strong = float(row["cost_rub"]) - spent
        is_plain = row["attempt"] == 1 and not row["cached"] and strong > 0
        return SampledRow(
            tuple(self._step(steps, place, known) for place in range(len(steps))),
            strong if is_plain else self.quoted[-1],
        )

    def _step(
        self, steps: Sequence[Mapping[str, Any]], place: int, known: Mapping[str, Any]
    ) -> SampledStep:
        step = steps[place]
        rub = float(step["cost_rub"]) or self.quoted[place]
        data = self._data(step)
        if step["reason"] != _UNSURE or (self.has_schema and data is None):
            return SampledStep({}, agrees=False, rub=rub)
        before = steps[place - 1] if place else None
        pair = None
        if before is not None and before["reason"] == _UNSURE:
            pair = agreement_sureness(before["text"], step["text"], self.ladder.field)
        return SampledStep(
            {
                Sureness.FIELD: field_sureness(data, self.ladder.field),
                Sureness.AGREEMENT: pair,
                Sureness.LOGPROBS: step["sureness"] if self.ladder.logprobs else None,
            },
            agrees=row_agrees(known, fields_of({"data": data, "text": step["text"]}), self.rules),
            rub=rub,
        )

    def _data(self, step: Mapping[str, Any]) -> object:
        if not self.has_schema:
            return None
        try:
            return json.loads(step["text"])
        except (ValueError, RecursionError):
            return None


@dataclass
class RunAudit:
    """Compares audited rows as they are written, and trips where the promise is broken."""

    reader: RowReader
    threshold: Threshold
    audit: Audit
    #: Ids of the calibration's rows, which are no audit.
    sample: frozenset[str]
    #: Model → rows that it answered.
    answered: Counter[str] = field(default_factory=Counter)

    def take(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows, and compare those that the lot fell on."""
        for row in rows:
            if row["error"] is None:
                self.answered[row["model"]] += 1
            if row["id"] in self.sample or not self.reader.ladder.is_audited(row["id"]):
                continue
            if (found := self.reader.read(row)) is not None:
                _, agrees, _ = found.end(self.threshold.kind, self.threshold.sure_at)
                self.audit = self.audit.and_row(agrees=agrees)

    @property
    def has_tripped(self) -> bool:
        """Whether agreement has fallen below the promise."""
        return self.audit.has_tripped
