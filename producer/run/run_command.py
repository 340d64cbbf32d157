"""`visionq run`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from producer.cascade.cascade_options import (
    check_ladder_options,
    ladder_options,
    take_ladder,
    with_ladder,
)
from producer.job_options import job_options, prompt_options, take_question
from producer.quote.near_page import near_page_option
from producer.run.plan import RunOptions, make_plan
from producer.run.run_progress import Terminal
from producer.run.selection import Again
from producer.run.table import table_options, take_table_form
from producer.run.waste import USUAL_SHARE
from producer.sources import STDIN
from producer.sources.files import folder_of
from producer.sources.opening import source_options, take_source_options
from visionq.cli.filters import POSITIVE_AMOUNT
from visionq.cli.shared import FILE, errors_as_json, found_migrations, json_option
from visionq.settings import load_settings

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from producer.run.plan import RunPlan
    from producer.run.workflow import Workflow
    from visionq.settings import Settings

#: Key of the command's arguments in click's context.
_GIVEN: Final = "visionq.arguments"


class _Remembering(click.Command):
    """Keeps its arguments: a detached run starts with the same."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401  # click's signature
    ) -> click.Context:
        """Return click's context with the arguments."""
        given = list(args)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[_GIVEN] = given
        return context


def again(given: list[str]) -> list[str]:
    """Return the arguments that start a detached run, and restart it after a crash.

    They leave out what is done before: the question to the user, `--fresh`, page and sample.
    """
    kept, rest = ["run"], iter(given)
    for one in rest:
        name, _, value = one.partition("=")
        if name in ("--first", "--near-page"):
            if not value:
                next(rest, None)
        elif one not in ("--detach", "--yes", "--json", "--fresh"):
            kept.append(one)
    return [*kept, "--yes"]


@click.command(cls=_Remembering)
@click.argument("source")
@prompt_options("The question; {column} is replaced by the row's value.")
@click.option("-o", "--out", type=FILE, required=True, help="FILE.jsonl, .csv, .xlsx or .parquet.")
@click.option(
    "--max-rub",
    type=POSITIVE_AMOUNT,
    help="Most rubles that all rows of OUT may cost.",
)
@click.option(
    "--max-waste",
    type=click.FloatRange(0, 100),
    default=100 * USUAL_SHARE,
    show_default=True,
    metavar="PERCENT",
    help="Stop if more of the last paid answers fail.",
)
@click.option("--first", type=click.IntRange(1), help="Answer a random sample first, then ask you.")
@click.option("--only", multiple=True, metavar="ID", help="Answer this row only; repeat for more.")
@click.option("--retry-failed", is_flag=True, help="Ask about failed rows of OUT again.")
@click.option("--retry-changed", is_flag=True, help="Ask again if prompt or pictures have changed.")
@click.option("--fresh", is_flag=True, help="Start OUT again; its content goes to OUT.bak.")
@click.option("--ordered", is_flag=True, help="Sort OUT in the order of SOURCE.")
@click.option("--yes", is_flag=True, help="Start without asking.")
@ladder_options
@click.option("--detach", is_flag=True, help="Go on without this terminal: see `visionq runs`.")
@click.option("--end-with-stdin", is_flag=True, hidden=True, help="Stop as by Ctrl-C at its end.")
@near_page_option
@job_options
@source_options
@table_options
@json_option
def run(
    *,
    source: str,
    out: Path,
    max_rub: Decimal | None,
    max_waste: float,
    first: int | None,
    only: tuple[str, ...],
    retry_failed: bool,
    retry_changed: bool,
    fresh: bool,
    ordered: bool,
    yes: bool,
    detach: bool,
    end_with_stdin: bool,
    near_page: Path | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401  # options of source, table and job, each checked by its reader
) -> int:
    """Ask one question about every picture of SOURCE, and write the answers to OUT.

    SOURCE is a folder, a glob, a manifest (CSV, JSONL), a list of addresses, s3://…, an OpenAI
    Batch file, or - for stdin. The same command again resumes a run that was stopped.
    """
    from producer.run.workflow import work  # noqa: PLC0415  # nothing of it for --help

    with errors_as_json(as_json):
        settings = load_settings()
        run_options = RunOptions(
            out=out,
            max_rub=max_rub,
            max_waste=max_waste / 100,
            first=first,
            again=Again(retry_failed, retry_changed),
            only=frozenset(only) or None,
            fresh=fresh,
            yes=yes,
            ordered=ordered,
            ends_with_stdin=end_with_stdin,
            near_page=near_page,
            form=take_table_form(options, settings.time_zone, folder_of(source)),
        )
        if detach and STDIN in (source, options["prompt"]):
            raise click.UsageError("--detach leaves stdin behind: give SOURCE and prompt as files")
        terminal = Terminal(yes=yes, as_json=as_json)
        plan, workflow = _planned(source, run_options, options, settings, terminal)
        given = click.get_current_context().meta[_GIVEN] if detach else None
        return work(plan, settings, terminal, given and again(given), workflow)


def _planned(
    source: str,
    run_options: RunOptions,
    options: dict[str, Any],
    settings: Settings,
    terminal: Terminal,
) -> tuple[RunPlan, type[Workflow] | None]:
    """Return the plan and, with a ladder, the workflow that asks its models.

    Tell the user if the model is migrated.
    """
    described = take_source_options(options)
    ladder = take_ladder(options)
    asked = take_question(options)
    if ladder is not None:
        check_ladder_options(run_options, options)
        asked["model"] = ladder.models[0]
    plan = make_plan(
        source,
        run_options,
        source_options=described,
        asked=asked,
        settings=settings,
        stdin=sys.stdin.buffer,
        migrations=found_migrations(settings),
    )
    workflow = None
    if ladder is not None:
        from producer.cascade.cascade_workflow import CascadeWorkflow  # noqa: PLC0415  # as above

        plan, workflow = with_ladder(plan, ladder, settings), CascadeWorkflow
    model = plan.question.options["model"]
    if model != (named := asked.get("model") or settings.default_model):
        terminal.say(f"model: {named} is migrated to {model} (`visionq models show`)")
    return plan, workflow
