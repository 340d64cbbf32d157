"""A run of a ladder: ask all models about a sample, find the threshold, do the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from producer.cascade.calibration import Audit, calibrate, fewest_rows, usual_rows
from producer.cascade.ladder import LadderQuestion, Strong
from producer.cascade.sampled_rows import RowReader, RunAudit
from producer.run.preview import quote_of_rest, show_quote
from producer.run.run_progress import Tally, rubles
from producer.run.selection import Sample, Selection
from producer.run.session import Outcome
from producer.run.workflow import Workflow
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from producer.cascade.calibration import Calibration, SampledRow, Threshold
    from producer.quote import Quote

#: More rows than any source has: a promise about these needs the largest sample.
_ENDLESS = 10**9
_KINDS = {"field": "the field", "logprobs": "log probabilities", "agreement": "two equal answers"}


class CascadeWorkflow(Workflow):
    """A run whose rows go up a ladder of models as far as needed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        assert isinstance(self.plan.question, LadderQuestion)  # noqa: S101  # by its only caller
        self._asked: LadderQuestion = self.plan.question
        self.ladder = self._asked.ladder
        #: Rows of the source.
        self._population = 0
        #: Rubles of a row by the quote, model by model.
        self._quoted: list[float] = []
        self._calibration: Calibration | None = None

    # Before ---------------------------------------------------------------------------------------

    def agreed(self) -> bool:
        """Show what the sample costs, and what the rest costs at best and at worst."""
        if self.ladder.strong is not None:
            return self._agreed_to_one()
        most = self.ladder.calibrate or usual_rows(self._fewest(_ENDLESS))
        selection, sample = self._selection(), Sample(most, self.plan.run)
        quotes = [self._quote(self.ladder.models[0], selection, sample)]
        quotes += [self._quote(one, self._selection(), None) for one in self.ladder.models[1:]]
        self._population, self._sample = selection.seen, sample.ids
        self._quoted = [float(one.rub.expected or 0) / max(1, one.asked) for one in quotes]
        self.tally = self._tally(selection, quotes[0])
        if quotes[0].rows == 0:
            return True
        self._check_sample(len(sample.ids))
        show_quote(quotes[0], self.plan, self.terminal)
        self._say_costs(quotes[0])
        self._warn(quotes[0])
        return self._sample_is_done or self.terminal.agree("Begin?")

    def _agreed_to_one(self) -> bool:
        selection = self._selection()
        quote = self._quote(self.ladder.last, selection, None)
        self.question = self._asked.of_one(self.ladder.last)
        self.tally = replace(self._tally(selection, quote), expected=quote.rub.expected)
        if quote.rows == 0:
            return True
        show_quote(quote, self.plan, self.terminal)
        self._warn(quote)
        return self.terminal.agree("Begin?")

    def _quote(self, model: str, selection: Selection, sample: Sample | None) -> Quote:
        plan = replace(self.plan, question=self._asked.of_one(model))
        return quote_of_rest(plan, selection, sample, self.settings)

    def _tally(self, selection: Selection, quote: Quote) -> Tally:
        return Tally(
            before=selection.kept,
            failed_before=selection.kept_failed,
            paid_before=self.record.index.paid(),
            to_ask=quote.rows,
        )

    def _selection(self) -> Selection:
        again = self.plan.options.again
        if self.ladder.strong is Strong.ALL:
            again = replace(again, unless_by=self.ladder.last)
        prompt = self.plan.question.prompt
        return Selection(self.record.index, prompt, self.record.row, again)

    def _fewest(self, population: int) -> int:
        promise, kinds = self.ladder.promise, len(self._asked.kinds)
        return fewest_rows(promise, kinds, population) or population

    def _check_sample(self, size: int) -> None:
        """Refuse a sample on which nothing can be promised, or that is the whole source."""
        fewest, promise = self._fewest(self._population), self.ladder.promise
        source = f"{self.plan.source.description} has {counted(self._population, 'row')}"
        if size >= self._population:
            raise click.UsageError(
                f"{source}, and the sample would be all of them (--calibrate): ask"
                f" {self.ladder.last} alone (--model)"
            )
        if size < fewest:
            raise click.UsageError(
                f"agreement of {promise.agree:g} with confidence {promise.confidence:g} can't be"
                f" promised on a sample of {counted(size, 'row')}: --calibrate {fewest} or more"
            )

    def _say_costs(self, quote: Quote) -> None:
        sample = self._sample or frozenset()
        missing = sum(self.record.index.get(row_id) is None for row_id in sample)
        rest = max(0, quote.asked - missing)
        all_models = Decimal(sum(self._quoted))
        first, last = Decimal(self._quoted[0]), Decimal(self._quoted[-1])
        before, say = missing * all_models, self.terminal.say
        say(f"ladder: {' → '.join(self.ladder.models)}; {self._promise()}")
        say(f"sample: {counted(missing, 'row')} by all models, about {rubles(before)}")
        say(
            f"the other {rest:,}: from {rubles(rest * first)} if none goes up to"
            f" {rubles(rest * all_models)} if all do, which the sample measures;"
            f" {self.ladder.last} alone: {rubles(rest * last)}"
        )
        limit = self.plan.options.max_rub
        if limit is not None and (least := self.tally.paid + before + rest * first) > limit:
            say(f"--max-rub {limit} is too little for {rubles(least)}, where no row goes up")

    def _promise(self) -> str:
        promise = self.ladder.promise
        return (
            f"{promise.agree:.1%} of the rows as {self.ladder.last} would answer them, with"
            f" confidence {promise.confidence:.1%}"
        )

    # The run --------------------------------------------------------------------------------------

    def run(self, *, sample_only: bool) -> tuple[Outcome, bool]:
        """Ask all models about the sample, and as many as needed about the rest."""
        del sample_only  # a detached run does all of it
        if self.tally.to_ask == 0:
            return self._verdict(), False
        if self.ladder.strong is not None:
            return self._session(None), False
        assert self._sample is not None  # noqa: S101  # `agreed` drew it
        if not self._sample_is_done or self.plan.options.again.failed:
            outcome = self._session(self._sample)
            if outcome not in (Outcome.SAMPLED, Outcome.DONE):
                return outcome, False
        return self._rest(), False

    def _rest(self) -> Outcome:
        reader = RowReader.of(self._asked, self._quoted)
        sampled = list(self._sampled(reader))
        fewest = self._fewest(self._population)
        if len(sampled) < fewest:
            self.terminal.say(
                f"sample: all models answered {counted(len(sampled), 'row')}, and the promise needs"
                f" {fewest:,}"
            )
            return self._last_alone(Outcome.UNPROMISED)
        promise, kinds = self.ladder.promise, self._asked.kinds
        self._calibration = found = calibrate(sampled, promise, kinds, self._population)
        for line in self._said(found):
            self.terminal.say(line)
        if (best := found.best) is None:
            return self._last_alone(Outcome.UNPROMISED)
        expected = Decimal(best.rub) * self.tally.left
        self.tally.expected = expected * self.tally.to_ask / max(1, self.tally.left)
        if not self.terminal.agree("Go on with the rest?"):
            return Outcome.SAMPLED
        self.question = replace(self._asked, kind=best.kind, sure_at=best.sure_at)
        self.audit = self._audited(reader, best)
        outcome = self._session(None)
        self._say_audit(self.audit)
        if outcome is Outcome.DONE and self.audit.audit.is_doubtful:
            return Outcome.DISAGREES
        return self._last_alone(outcome) if outcome is Outcome.DISAGREES else outcome

    def _audited(self, reader: RowReader, best: Threshold) -> RunAudit:
        """Return the audit of the rows that OUT has."""
        sample = self._sample or frozenset()
        found = RunAudit(reader, best, Audit(self.ladder.promise), sample)
        found.take(self._rows(filter(self.ladder.is_audited, self.record.index.ids())))
        found.answered = Counter()
        return found

    def _verdict(self) -> Outcome:
        """Return whether the audit of a run that is done speaks against its promise."""
        reader = RowReader.of(self._asked, self._quoted)
        sampled = list(self._sampled(reader)) if self.ladder.strong is None else []
        if len(sampled) < self._fewest(self._population):
            return Outcome.DONE
        found = calibrate(sampled, self.ladder.promise, self._asked.kinds, self._population)
        if found.best is None or not self._audited(reader, found.best).audit.is_doubtful:
            return Outcome.DONE
        rows = self.record.rows(ordered=False)
        by_last = all(row["error"] or row["model"] == self.ladder.last for row in rows)
        return Outcome.DONE if by_last else Outcome.DISAGREES

    def _last_alone(self, outcome: Outcome) -> Outcome:
        """Ask the user whether the last model alone is to do the rest."""
        last = self.ladder.last
        cost = rubles(Decimal(self._quoted[-1]) * self.tally.left)
        self.terminal.say(f"{last} alone about the other {self.tally.left:,}: about {cost}")
        if self.terminal.yes or not self.terminal.agree(f"Ask {last} alone about the rest?"):
            return outcome
        self.question, self.audit = self._asked.of_one(last), None
        return self._session(None)

    def _sampled(self, reader: RowReader) -> Iterator[SampledRow]:
        for row in self._rows(sorted(self._sample or ())):
            if (found := reader.read(row)) is not None:
                yield found

    def _rows(self, ids: Sequence[str] | Iterator[str]) -> Iterator[dict[str, Any]]:
        for row_id in ids:
            if (entry := self.record.index.get(row_id)) is not None:
                yield self.record.row(entry)

    # Messages -------------------------------------------------------------------------------------

    def _said(self, found: Calibration) -> Iterator[str]:
        yield f"sample: {counted(found.rows, 'row')} answered by all models; {self._promise()}"
        for kind, one in found.found.items():
            if one is None:
                yield f"  by {_KINDS[kind]}: no threshold keeps the promise"
            else:
                yield (
                    f"  by {_KINDS[kind]}, from {one.sure_at:g} on: {one.agreement:.1%} agree,"
                    f" {one.strong_share:.0%} go to {self.ladder.last}, {rubles(Decimal(one.rub))}"
                    " a row"
                )
        yield f"  {self.ladder.last} alone: {rubles(Decimal(found.strong_rub))} a row"
        if found.best is None:
            yield f"no threshold keeps the promise for less than {self.ladder.last} alone costs"
        else:
            rest = Decimal(found.best.rub) * self.tally.left
            yield f"the other {self.tally.left:,}: about {rubles(rest)}"

    def _say_audit(self, done: RunAudit) -> None:
        by = ", ".join(f"{model} {count:,}" for model, count in done.answered.most_common())
        self.terminal.say(f"answered by: {by or 'nobody'}")
        audit = done.audit
        differ = f", {audit.differing:,} of them otherwise" if audit.rows else ""
        self.terminal.say(f"audit: {counted(audit.rows, 'row')} asked of all models{differ}")
        if (saved := self._saved()) is not None:
            self.terminal.say(f"saved against {self.ladder.last} alone: about {rubles(saved)}")

    def _saved(self) -> Decimal | None:
        """Return by how much the last model alone would have cost more."""
        if self._calibration is None:
            return None
        rows, failed = self.record.index.count()
        return Decimal(self._calibration.strong_rub) * (rows - failed) - self.tally.paid

    def _to_public(self, outcome: Outcome, rows: int, codes: Counter[str]) -> dict[str, Any]:
        found, audit = self._calibration, self.audit.audit if self.audit is not None else None
        best, saved = found.best if found is not None else None, self._saved()
        promise = self.ladder.promise
        cascade = {
            "models": list(self.ladder.models),
            "agree": promise.agree,
            "confidence": promise.confidence,
            "sampled": found.rows if found is not None else 0,
            "sureness": best.kind.value if best is not None else None,
            "sure_at": best.sure_at if best is not None else None,
            "agreement": best.agreement if best is not None else None,
            "strong_share": best.strong_share if best is not None else None,
            "audited": audit.rows if audit is not None else 0,
            "differing": audit.differing if audit is not None else 0,
            "saved_rub": str(round(saved, 6)) if saved is not None else None,
        }
        return super()._to_public(outcome, rows, codes) | {"cascade": cascade}
