"""The models of a ladder, and the question that is asked of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import click

from producer.job_options import COLUMN_PREFIX, check_options
from producer.run.plan import Question, check_price
from visionq.pricing.prices import load_prices
from visionq.sureness import USUAL_FIELD, Sureness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from producer.cascade.calibration import Promise
    from producer.sources import Row, Source
    from visionq.sdk.submitting import Draft
    from visionq.settings import Settings

MOST_MODELS: Final = 4
_OPTION: Final = "--cascade"
#: Fields of a job that rows can't set while a ladder does.
_OWN: Final = ("model", "answer_schema", "cascade", "fallback", "lane", "by")


class Strong(StrEnum):
    """The rows that the last model alone is asked about."""

    REST = "rest"
    """Those that have no answer."""
    ALL = "all"
    """Those, too, that another model has answered."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Models from the cheapest to the strong one, and what they are to keep together."""

    models: tuple[str, ...]
    promise: Promise
    #: Rows that all models are asked about first; None: the usual number.
    calibrate: int | None = None
    #: All models are asked about one of this many later rows.
    audit: int = 20
    #: Where answers say how sure the model is.
    field: str = USUAL_FIELD
    #: Whether log probabilities are asked for.
    logprobs: bool = False
    strong: Strong | None = None

    @property
    def last(self) -> str:
        """The strong model."""
        return self.models[-1]

    def kinds(self, schema: Mapping[str, Any] | None) -> tuple[Sureness, ...]:
        """Return the kinds of sureness that answers to a schema have."""
        has_field = schema is not None and _has_field(schema, self.field)
        has_pair = len(self.models) > 2  # noqa: PLR2004  # two below the strong one
        kinds = (
            (Sureness.LOGPROBS, self.logprobs),  # first: with this kind all others can be measured
            (Sureness.FIELD, has_field),
            (Sureness.AGREEMENT, has_pair),
        )
        return tuple(kind for kind, is_there in kinds if is_there)

    def is_audited(self, row_id: str) -> bool:
        """Return whether the lot falls on a row, always the same for the same row."""
        lot = hashlib.sha256(f"audit/{row_id}".encode("utf-8", "backslashreplace")).digest()
        return int.from_bytes(lot[:8], "big") % self.audit == 0


def _has_field(schema: Mapping[str, Any], name: str) -> bool:
    for part in name.split("."):
        found = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(found, dict) or part not in found:
            return False
        schema = found[part]
    return True


@dataclass(frozen=True)
class LadderQuestion(Question):
    """A question to the models of a ladder; all are asked until a threshold is known."""

    ladder: Ladder = field(kw_only=True)
    #: By which kind of sureness, and from which on, an answer is taken; None: from the last model.
    kind: Sureness = Sureness.FIELD
    sure_at: float | None = None
    #: The only model that is asked; None: all, as far as needed.
    alone: str | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the question, the models and the promise."""
        ladder = self.ladder
        base = Question(self.prompt, self.options, self.source).fingerprint
        named = [
            *ladder.models,
            repr(ladder.promise),
            ladder.field,
            *["logprobs"] * ladder.logprobs,
        ]
        return hashlib.sha256("\n".join([base, *named]).encode()).hexdigest()[:16]

    @property
    def kinds(self) -> tuple[Sureness, ...]:
        """The kinds of sureness that can be measured."""
        return self.ladder.kinds(self.options.get("answer_schema"))

    def of_one(self, model: str) -> LadderQuestion:
        """Return the question to one model alone."""
        return replace(self, alone=model, options={**self.options, "model": model})

    def draft(self, row: Row, settings: Settings, run: str, attempt: int) -> Draft:
        """Return the job of a row, as `Question.draft` does."""
        if self.alone is None:
            row = replace(row, overrides={**row.overrides, **self._ladder_fields(row.id)})
        return super().draft(row, settings, run, attempt)

    def _ladder_fields(self, row_id: str) -> dict[str, Any]:
        sure_at = None if self.ladder.is_audited(row_id) else self.sure_at
        cascade = {
            "models": list(self.ladder.models[1:]),
            "sure_at": sure_at,
            "sureness": self.kind.value,
            "field": self.ladder.field,
        }
        # All models are asked about this picture to be compared, and not about one that is near.
        return {"cascade": cascade, "near": None} if sure_at is None else {"cascade": cascade}


def read_models(text: str) -> tuple[str, ...]:
    """Return the models of `A,B`.

    Raises:
        ValueError: there are too few or too many, or one is named twice.
    """
    models = tuple(part.strip() for part in text.split(","))
    if not 1 < len(models) <= MOST_MODELS or "" in models:
        raise ValueError(
            f"{text!r}: name 2 to {MOST_MODELS} models, the cheapest first:"
            " gpt-6-luna,gpt-6.1-terra"
        )
    if len(set(models)) < len(models):
        raise ValueError(f"{text!r}: a model is named twice")
    return models


def ladder_question(
    question: Question, ladder: Ladder, source: Source, settings: Settings
) -> LadderQuestion:
    """Return the question to a ladder.

    Raises:
        click.UsageError: a model can't be asked it, the first is not the cheapest, or nothing
            says how sure an answer is.
    """
    columns = {f"{COLUMN_PREFIX}{name}" for name in _OWN} & set(source.columns)
    if columns or source.asks_itself:
        what = f"column {min(columns)!r}" if columns else "its lines"
        raise click.UsageError(
            f"{_OPTION} asks the same models of every row: {what} says otherwise"
        )
    for model in ladder.models:
        check_price(model, settings, _OPTION)
        check_options({**question.options, "model": model}, settings)
    _check_order(ladder, settings)
    options = {**question.options, "model": ladder.models[0]}
    found = LadderQuestion(question.prompt, options, question.source, ladder=ladder)
    if not found.kinds:
        raise click.UsageError(
            f"{_OPTION}: nothing says how sure an answer is: add a number from 0 to 1 named"
            f" {ladder.field!r} to the properties of --schema, name another field by --sure-field,"
            " name two models before the last, or give --logprobs"
        )
    found = replace(found, kind=found.kinds[0])
    check_options({**found._ladder_fields(""), **options}, settings)  # noqa: SLF001  # its own
    return found


def _check_order(ladder: Ladder, settings: Settings) -> None:
    prices = load_prices(settings.prices_file)
    for one, next_one in pairwise(ladder.models):
        cheap, dear = prices.for_model(one), prices.for_model(next_one)
        assert cheap is not None  # noqa: S101  # for the type checker: both were checked
        assert dear is not None  # noqa: S101  # likewise
        if cheap.input >= dear.input and cheap.output >= dear.output:
            raise click.UsageError(
                f"{_OPTION}: {one} is not cheaper than {next_one}: name the cheapest first"
            )
