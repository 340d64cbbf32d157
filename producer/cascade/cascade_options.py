"""The options of `visionq run` about a ladder of models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from producer.cascade.calibration import Promise
from producer.cascade.ladder import Ladder, Strong, ladder_question, read_models
from visionq.cli.shared import Parsed, with_options
from visionq.sureness import USUAL_FIELD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from producer.run.plan import RunOptions, RunPlan
    from visionq.settings import Settings

_SHARE: Final = click.FloatRange(0, 1, min_open=True, max_open=True)
_USUAL_CONFIDENCE: Final = 0.95
_USUAL_AUDIT: Final = 20
_NAMES: Final = (
    "cascade",
    "agree",
    "confidence",
    "calibrate",
    "audit",
    "sure_field",
    "logprobs",
    "strong",
)

#: The options that `take_ladder` reads.
ladder_options = with_options(
    click.option(
        "--cascade",
        type=Parsed("models", read_models),
        help="A,B: ask the cheap model A first, and B only where A is unsure; needs --agree.",
    ),
    click.option("--agree", type=_SHARE, help="Share of the answers that must be as B's."),
    click.option("--confidence", type=_SHARE, help="How sure that must be.  [default: 0.95]"),
    click.option(
        "--calibrate",
        type=click.IntRange(1),
        metavar="N",
        help="Rows that all models are asked about first.  [default: by --agree]",
    ),
    click.option(
        "--audit",
        type=click.IntRange(1),
        metavar="N",
        help="Ask all models about one of N later rows.  [default: 20]",
    ),
    click.option(
        "--logprobs",
        is_flag=True,
        default=None,
        help="Measure log probabilities, too, where A's API returns them.",
    ),
    click.option("--sure-field", help="Field that says how sure A is.  [default: confidence]"),
    click.option(
        "--strong",
        type=click.Choice([one.value for one in Strong]),
        help="Ask B alone: about the rest, or about all that A answered as well.",
    ),
)


def take_ladder(options: dict[str, Any]) -> Ladder | None:
    """Remove the options of a ladder, and return the ladder, if there is one.

    Raises:
        click.UsageError: --agree is missing, or there is no --cascade.
    """
    given = {name: options.pop(name) for name in _NAMES}
    if given["cascade"] is None:
        if (name := next((name for name in _NAMES if given[name] is not None), None)) is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --cascade")
        return None
    if given["agree"] is None:
        raise click.UsageError("--cascade needs --agree: the share of answers as the last model's")
    return Ladder(
        models=given["cascade"],
        promise=Promise(given["agree"], given["confidence"] or _USUAL_CONFIDENCE),
        calibrate=given["calibrate"],
        audit=given["audit"] or _USUAL_AUDIT,
        field=given["sure_field"] or USUAL_FIELD,
        logprobs=bool(given["logprobs"]),
        strong=Strong(given["strong"]) if given["strong"] else None,
    )


def check_ladder_options(run: RunOptions, options: Mapping[str, Any]) -> None:
    """Check that no option of the run or its jobs contradicts a ladder.

    Raises:
        click.UsageError: one does.
    """
    for is_given, name, why in (
        (options.get("model") is not None, "--model", "names the models"),
        (run.first is not None, "--first", "draws a sample itself (--calibrate)"),
        (run.only is not None, "--only", "promises about all rows"),
        (options.get("lane") == "batch", "--lane batch", "asks online"),
        (options.get("by") is not None, "--by", "asks online"),
    ):
        if is_given:
            raise click.UsageError(f"--cascade {why}: leave {name} out")


def with_ladder(plan: RunPlan, ladder: Ladder, settings: Settings) -> RunPlan:
    """Return the plan that asks the models of a ladder.

    Raises:
        click.UsageError: they can't be asked this question.
    """
    return replace(plan, question=ladder_question(plan.question, ladder, plan.source, settings))
