"""`visionq limits`: show, set and clear the rate limits of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from visionq.cli.shared import errors_as_json, json_option, open_ledger, print_json
from visionq.contract.limits import ALL_MODELS, MODEL_NAME, Limits
from visionq.ledger.rate_limits import OPERATOR, read_limits, read_rate_limits

if TYPE_CHECKING:
    from redis import Redis

    from visionq.ledger.rate_limits import RateLimitStatus


def _model(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if name == ALL_MODELS:
        return name
    try:
        return MODEL_NAME.validate_python(name)
    except ValidationError:
        raise click.BadParameter(f"{name!r} is not the name of a model") from None


_positive = click.FloatRange(min=0, min_open=True)


@click.group()
def limits() -> None:
    """Show, set or clear the rate limits of each model.

    MODEL is a name, or `*` for every model that no limits are named for. What is set here holds at
    once, for all workers, and goes before VISIONQ_LIMITS.
    """


@limits.command()
@json_option
def show(*, as_json: bool) -> None:
    """Show configured limits and the current rate of each model."""
    with errors_as_json(as_json), open_ledger() as ledger:
        _print(ledger.redis, as_json=as_json)


@limits.command("set")
@click.argument("model", callback=_model)
@click.option("--requests", type=_positive, help="Requests a minute.")
@click.option("--tokens", type=_positive, help="Tokens a minute.")
@click.option("--concurrency", type=click.IntRange(1), help="Calls at a time.")
@json_option
def set_(
    *,
    model: str,
    requests: float | None,
    tokens: float | None,
    concurrency: int | None,
    as_json: bool,
) -> None:
    """Set the limits of MODEL; omitted ones are unlimited."""
    chosen = Limits(requests_per_minute=requests, tokens_per_minute=tokens, concurrency=concurrency)
    if chosen == Limits():
        raise click.UsageError("give --requests, --tokens or --concurrency")
    with errors_as_json(as_json), open_ledger() as ledger:
        ledger.set_limits(OPERATOR, {model: chosen})
        _print(ledger.redis, as_json=as_json)


@limits.command()
@click.argument("model", callback=_model)
@json_option
def clear(*, model: str, as_json: bool) -> None:
    """Forget limits of MODEL: those set, reported by the provider, or learned."""
    with errors_as_json(as_json), open_ledger() as ledger:
        ledger.set_limits(OPERATOR, {model: None})
        _print(ledger.redis, as_json=as_json)


def _print(redis: Redis, *, as_json: bool) -> None:
    said, now = read_limits(redis), read_rate_limits(redis, ())
    if as_json:
        shown = {
            who: {
                model: one.model_dump(mode="json", exclude_none=True) for model, one in all_.items()
            }
            for who, all_ in said.items()
        }
        print_json({**shown, "now": [rate_limit.to_public() for rate_limit in now]})
        return
    for who, entries in said.items():
        for model, one in entries.items():
            click.echo(f"{model}: {_words(one)} (set by the {who})")
    for rate_limit in now:
        click.echo(f"  now {rate_limit.model}: {_pace(rate_limit)}")
    if not any(said.values()):
        click.echo("no limits are set; models are asked as fast as the provider lets us")


def _words(one: Limits) -> str:
    words = {
        "requests a minute": one.requests_per_minute,
        "tokens a minute": one.tokens_per_minute,
        "calls at a time": one.concurrency,
    }
    return ", ".join(f"{value:,.10g} {unit}" for unit, value in words.items() if value is not None)


def _pace(rate_limit: RateLimitStatus) -> str:
    rate = ""
    if rate_limit.source:
        rate = f"{rate_limit.requests_per_minute:,.10g} calls a minute ({rate_limit.source}), "
    return f"{rate}{rate_limit.calls_out} out, {rate_limit.at_hand} about to be sent"
