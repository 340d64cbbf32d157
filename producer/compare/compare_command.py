"""`visionq compare`: which prompt, model, detail and effort is good enough, and what it costs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from producer.compare.answer_fields import read_rule
from producer.compare.comparison_plan import ComparisonOptions, make_comparison_plan
from producer.compare.variants import read_variant
from producer.job_options import job_options, prompt_options, take_question
from producer.run.run_progress import Terminal
from producer.sources.opening import source_options, take_source_options
from visionq.cli.filters import POSITIVE_AMOUNT
from visionq.cli.shared import FILE, Parsed, errors_as_json, found_migrations, json_option
from visionq.settings import load_settings

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from producer.compare.answer_fields import FieldRule
    from visionq.settings import Settings


@click.command()
@click.argument("source")
@click.option(
    "--variant",
    "variants",
    type=Parsed("variant", read_variant),
    multiple=True,
    help="NAME=VALUE,… that this variant asks otherwise, or @FILE.toml; repeat.",
)
@prompt_options("The question; {column} is replaced by the row's value.")
@click.option("-o", "--out", type=FILE, required=True, help="FILE.jsonl; its page is beside it.")
@click.option("--sample", type=click.IntRange(1), help="Rows to draw by lot.  [default: 50]")
@click.option("--stratify", metavar="COLUMN", help="Draw of each value of COLUMN its share.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one, other rows.")
@click.option("--golden", type=FILE, help="Known answers, JSONL or CSV; the rows are drawn there.")
@click.option(
    "--field",
    "rules",
    type=Parsed("field", read_rule),
    multiple=True,
    help="NAME=KIND: label, number, number:2%, list or text.  [default: by the schema]",
)
@click.option("--judge", metavar="MODEL", help="Have MODEL say which of two texts fits better.")
@click.option("--max-rub", type=POSITIVE_AMOUNT, help="Most rubles that all of it may cost.")
@click.option("--retry-failed", is_flag=True, help="Ask about failed rows again.")
@click.option("--yes", is_flag=True, help="Start without asking.")
@job_options
@source_options
@json_option
def compare(
    *,
    source: str,
    variants: tuple[dict[str, Any], ...],
    out: Path,
    sample: int | None,
    stratify: str | None,
    seed: int,
    golden: Path | None,
    rules: tuple[tuple[str, FieldRule], ...],
    judge: str | None,
    max_rub: Decimal | None,
    retry_failed: bool,
    yes: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401  # options of source and job, each checked by its reader
) -> int:
    """Ask variants of a question about a sample of SOURCE; compare answers and costs.

    Each --variant changes what the other options ask: prompt, schema, model, detail, effort, …
    The same command again resumes a comparison, and pays for no answer twice.
    """
    from producer.compare.comparing import compare as work  # noqa: PLC0415  # nothing for --help

    with errors_as_json(as_json):
        settings = with_migrated_default(load_settings(), options.get("tenant"))
        described = take_source_options(options)
        plan = make_comparison_plan(
            source,
            variants,
            ComparisonOptions(
                out=out,
                sample=sample,
                seed=seed,
                stratify=stratify,
                golden=golden,
                rules=dict(rules),
                judge=judge,
                max_rub=max_rub,
                retry_failed=retry_failed,
            ),
            source_options=described,
            asked=take_question(options),
            settings=settings,
            stdin=sys.stdin.buffer,
        )
        return work(plan, settings, Terminal(yes=yes, as_json=as_json))


def with_migrated_default(settings: Settings, tenant: str | None) -> Settings:
    """Return settings whose default model is the one that jobs without a model ask now.

    What a variant names is asked as named, migrated or not.
    """
    default = found_migrations(settings).model_of(None, tenant, settings.default_model)
    return settings.model_copy(update={"default_model": default})
