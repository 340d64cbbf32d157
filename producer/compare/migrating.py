"""A migration from one model to another: compared over questions that were asked, then set."""

from __future__ import annotations

import getpass
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from producer.compare.answer_fields import rules_of
from producer.compare.asked_questions import (
    asked_questions,
    check_takes,
    common,
    row_of,
)
from producer.compare.comparing import Compared, ask_and_compare
from producer.compare.comparison_plan import ComparisonPlan, check_out, make_comparison_plan
from producer.compare.comparison_rendering import say_comparison
from producer.compare.model_changes import model_changes
from producer.compare.stratified_sample import USUAL_SIZE, Drawn, HeldRows, draw_sample
from producer.compare.variants import Variant
from producer.run.plan import Question
from visionq.blobs import open_blobs
from visionq.cli.screen import plain
from visionq.cli.shared import EXIT_OK, EXIT_STOPPED, print_json
from visionq.model_migrations import migrate, read_migrations
from visionq.pricing.model_list import read_model_list
from visionq.pricing.model_options import load_option_table
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal
    from typing import BinaryIO

    from redis import Redis

    from producer.compare.asked_questions import AskedQuestions
    from producer.compare.comparison_plan import ComparisonOptions
    from producer.compare.model_changes import ChangedFact
    from producer.run.run_progress import Terminal
    from producer.sources import SourceOptions
    from visionq.model_migrations import Migration
    from visionq.settings import Settings

#: Fields of the sample's questions that shape the tables, if all have them alike.
_SHAPING: Final = ("detail", "answer_schema")


@dataclass(frozen=True)
class SourceToAsk:
    """A source of questions, in the place of the ledger's."""

    spec: str
    options: SourceOptions
    asked: Mapping[str, Any]
    stdin: BinaryIO


@dataclass(frozen=True)
class _DrawnQuestions:
    """The questions of a comparison, and what is known of where they are from."""

    plan: ComparisonPlan
    drawn: Drawn
    questions: AskedQuestions | None = None
    #: What the answers of the present model cost when they were given.
    paid_then: Decimal | None = None


def who() -> str:
    """Return user and host, for the audit."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without users
        user = "?"
    return f"{user}@{socket.gethostname()}"


def migrate_model(
    new: Migration,
    source: SourceToAsk | None,
    options: ComparisonOptions,
    redis: Redis,
    *,
    settings: Settings,
    terminal: Terminal,
) -> int:
    """Compare both models, show what changes, and on yes put the migration in force.

    Raises:
        click.UsageError, InvalidSource, InvalidJob: it can't be compared; nothing was paid.
        VisionqError: the comparison can't go on; all answers so far are kept.
    """
    read_migrations(redis).check(new)
    listed = read_model_list(redis)
    changes = model_changes(new.source, new.target, settings, listed.ends if listed else {})
    sample = None
    if source is not None:
        sample = _of_source(new, source, options, settings)
    elif options.sample != 0:
        sample = _of_ledger(new, options, redis, settings)
    compared = None
    if sample is not None:
        for line in _said_of(sample):
            terminal.say(line)
        ended = ask_and_compare(sample.plan, sample.drawn, settings, terminal)
        if isinstance(ended, int):
            return ended
        compared = ended
        if not terminal.as_json:
            say_comparison(compared.found, compared.rows)
    for line in _said_of_changes(new, changes):
        terminal.say(line)
    is_wanted = terminal.agree(f"{new.whom[0].upper()}{new.whom[1:]} ask {new.target}: migrate?")
    if is_wanted:
        migrate(redis, new)
        terminal.say(
            f"migrated: {new.whom} ask {new.target} within seconds; `{undo_command(new)}` takes it"
            " back"
        )
    if terminal.as_json:
        print_json(_document(new, sample, compared, changes, is_migrated=is_wanted))
    return EXIT_OK if is_wanted else EXIT_STOPPED


def undo_command(one: Migration) -> str:
    """Return the command that takes a migration back."""
    tenant = f" --tenant {one.tenant}" if one.tenant else ""
    return f"visionq models undo {one.source}{tenant}"


def _of_source(
    new: Migration, source: SourceToAsk, options: ComparisonOptions, settings: Settings
) -> _DrawnQuestions:
    plan = make_comparison_plan(
        source.spec,
        [{"model": model} for model in (new.source, new.target)],
        options,
        source_options=source.options,
        asked=source.asked,
        settings=settings,
        stdin=source.stdin,
    )
    return _DrawnQuestions(
        plan, draw_sample(plan.source, size=options.sample, seed=str(options.seed))
    )


def _of_ledger(
    new: Migration, options: ComparisonOptions, redis: Redis, settings: Settings
) -> _DrawnQuestions:
    check_out(options)
    blobs, table = open_blobs(settings, redis), load_option_table(settings.options_file)
    found = asked_questions(redis, blobs, new.source, new.tenant)
    size = _size(new, found, options.sample)
    check_takes(new.target, found, table, settings)
    drawn = found.drawn(size, str(options.seed))
    fields = [one.fields(table, settings) for one in drawn]
    alike = common(fields, _SHAPING)
    own = [{k: v for k, v in one.items() if k not in alike} for one in fields]
    rows = [
        row
        for number, (one, rest) in enumerate(zip(drawn, own, strict=True), 1)
        if (row := row_of(number, one, rest, blobs)) is not None
    ]
    held = HeldRows(f"jobs that asked {new.source}", rows, f"jobs of {new.source}")
    variants = [
        Variant(
            letter,
            Question(None, {**alike, "model": model}, held.fingerprint()),
            model,
            frozenset({"model"}),
        )
        for letter, model in (("A", new.source), ("B", new.target))
    ]
    schemas = [one.document.answer_schema for one in drawn]
    rules = {name: rule for one in reversed(schemas) for name, rule in rules_of(one).items()}
    plan = ComparisonPlan(
        held,
        variants,
        {**rules, **options.rules},
        None,
        options,
        known={"A": {one.id: one.known for one in drawn}},
    )
    paid = sum((one.result.cost_rub for one in drawn), start=drawn[0].result.cost_rub * 0)
    return _DrawnQuestions(plan, Drawn(held, found.found, found.gone), found, paid)


def _size(new: Migration, found: AskedQuestions, wanted: int | None) -> int:
    whose = f" of tenant {new.tenant}" if new.tenant else ""
    otherwise = "give a SOURCE to compare over, or --sample 0 to migrate without comparing"
    there = len(found.available)
    if found.found == 0:
        raise click.UsageError(
            f"no job{whose} that is kept was answered by {new.source}: {otherwise}"
        )
    if there == 0:
        raise click.UsageError(
            f"{counted(found.found, 'question')}{whose} to {new.source}, and no picture of them is"
            f" there any more (VISIONQ_BLOB_GRACE): {otherwise}"
        )
    if wanted is not None and wanted > there:
        raise click.UsageError(
            f"--sample {wanted}: the pictures of {counted(there, 'question')} to {new.source} are"
            f" still there ({found.gone:,} are gone); take {there} or fewer"
        )
    return wanted or min(USUAL_SIZE, there)


def _said_of(sample: _DrawnQuestions) -> list[str]:
    found = sample.questions
    if found is None:
        return []
    there = (
        f"{counted(found.found, 'question')} asked lately: the pictures of {len(found.available):,}"
        f" are still there, of {found.gone:,} they are gone"
    )
    return [there, f"the sample's answers cost {plain(sample.paid_then)} ₽ then, and nothing now"]


def _said_of_changes(new: Migration, changes: list[ChangedFact]) -> list[str]:
    lines = [f"what changes from {new.source} to {new.target}:"]
    return lines + [f"  {one.what}: {one.before} → {one.after}" for one in changes]


def _document(
    new: Migration,
    sample: _DrawnQuestions | None,
    compared: Compared | None,
    changes: list[ChangedFact],
    *,
    is_migrated: bool,
) -> dict[str, Any]:
    questions = sample.questions if sample is not None else None
    return {
        "migrated": is_migrated,
        "migration": new.to_public(),
        "questions": questions
        and {
            "found": questions.found,
            "available": len(questions.available),
            "gone": questions.gone,
        },
        "paid_then_rub": plain(sample.paid_then) if sample else None,
        "changes": [asdict(one) for one in changes],
        "comparison": compared and compared.found.to_public(),
    }
