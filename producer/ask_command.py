"""`visionq ask`: one question about one or several pictures, answered at once."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
from redis.exceptions import RedisError

from producer.job_options import (
    job_options,
    prompt_options,
    take_images,
    take_job_options,
    take_prompt,
)
from producer.quote.model_facts import LearnedStatistics, Shutdowns
from producer.stack import Reminder, found_stack, no_worker
from visionq.cli.provider_account import find_provider, get_model_list, provider_at
from visionq.cli.shared import errors_as_json, json_option, print_json
from visionq.contract import JobView, State
from visionq.errors import JobFailed, QueueUnavailable, VisionqError, WaitTimeout
from visionq.model_migrations import read_migrations
from visionq.names import QUEUE_INTERACTIVE
from visionq.pricing.vision import load_rules
from visionq.redis_connection import as_queue_unavailable, connect
from visionq.sdk import Client
from visionq.sdk.submitting import most_bytes
from visionq.sdk.waiting import LONGEST_OUTAGE
from visionq.settings import load_settings
from visionq.submission import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from producer.stack import Stack
    from visionq.contract import ResultDocument, Usage
    from visionq.sdk import Job
    from visionq.settings import Settings

#: Seconds between looks at a job that waits.
_LOOK_EVERY: Final = 3.0
_SMALL_STACK: Final = ("--workers", "1", "--concurrency", "8")


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@prompt_options("The question; `-` reads it from stdin.")
@job_options
@json_option
def ask(
    *,
    images: tuple[str, ...],
    prompt: str | None,
    prompt_file: Path | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401  # each is a field of the job, checked as such
) -> None:
    """Ask one question about one or several pictures: files, or http(s) addresses.

    Uses the running stack, or starts one for this question alone.
    """
    with errors_as_json(as_json):
        fields = take_job_options(options)
        recipe = fields.pop("prompt", None)
        fields["prompt"] = take_prompt(prompt, prompt_file, sys.stdin.buffer, recipe)
        settings = load_settings()
        # Read first: a wrong name fails at once, before a stack is started.
        fields["images"] = take_images(images, most_bytes(fields, settings))
        _check(fields, settings)
        _ask(fields, settings, as_json=as_json)


def _check(fields: dict[str, Any], settings: Settings) -> None:
    """Refuse an invalid job, or an option that its model does not take.

    Raises:
        InvalidJob: the message names the field.
    """
    # Where the pictures are is of no matter here.
    anywhere = [{"url": "https://example.com"}] * len(fields["images"])
    prepare({**fields, "images": anywhere}, settings)


def _ask(fields: dict[str, Any], settings: Settings, *, as_json: bool) -> None:
    with (
        found_stack(settings, *_SMALL_STACK) as stack,
        Client(settings, stack.redis_url) as client,
        connect(stack.redis_url, "visionq-ask") as redis,
    ):
        with as_queue_unavailable():
            migrations = read_migrations(redis)
        model = migrations.model_of(
            fields.get("model"), fields.get("tenant"), settings.default_model
        )
        with as_queue_unavailable():
            warnings = _warnings(model, redis, stack, settings)
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        began = time.monotonic()
        result = _answer(client, client.submit(**fields), redis)
        if as_json:
            print_json(result.to_public())
        else:
            _print_answer(result, time.monotonic() - began)


def _warnings(model: str, redis: Redis, stack: Stack, settings: Settings) -> tuple[str, ...]:
    """Return warnings about the model: the provider does not list it, or it ends soon."""
    provider = find_provider(settings)
    if stack.provider_url is not None:
        simulated = stack.simulated is True
        provider = provider_at(stack.provider_url, settings, simulated=simulated)
    listed = LearnedStatistics(redis, partial(get_model_list, provider)).model_list()
    today = datetime.now(UTC).date()
    return Shutdowns(today, today, listed).warnings([model], load_rules(settings.vision_file))


def _answer(client: Client, job: Job, redis: Redis) -> ResultDocument:
    """Wait for the answer; report on stderr what blocks it, at once and every minute."""
    reminder, reached = Reminder(), time.monotonic()
    standing = _unserved(redis)
    try:
        while True:
            if standing is not None and reminder.is_due(standing):
                click.echo(f"job {job.id}: {standing} …", err=True)
            try:
                seen = _look(job)
                reached = time.monotonic()
            except QueueUnavailable:
                if time.monotonic() - reached > LONGEST_OUTAGE:
                    raise
                standing = "Redis does not answer"
                time.sleep(1)
            else:
                if not isinstance(seen, JobView):
                    return seen
                waits = seen.state is State.QUEUED
                standing = (_unserved(redis) if waits else None) or _standing(seen)
    except KeyboardInterrupt:
        with suppress(VisionqError):  # the interrupt is what the user should see
            client.cancel(job)
        raise


def _unserved(redis: Redis) -> str | None:
    with suppress(RedisError):  # the next look at the job reports it
        return no_worker(redis, QUEUE_INTERACTIVE)
    return None


def _look(job: Job) -> ResultDocument | JobView:
    try:
        return job.wait(_LOOK_EVERY)
    except WaitTimeout:
        return job.status()


def _standing(view: JobView) -> str:
    """Return the state of the job, for people.

    Raises:
        JobFailed: it is parked, and no answer comes until an operator acts.
    """
    if view.state is State.PARKED:
        reason = view.reason or view.state.value
        raise JobFailed(reason, f"job {view.id} is parked until an operator acts")
    return f"{view.state.value} ({view.reason})" if view.reason else view.state.value


def _tokens(usage: Usage) -> str:
    """Return the number of tokens, with those of other prices or meaning in brackets."""
    parts = {
        "from the cache": usage.cached_tokens,
        "written to it": usage.cache_write_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    details = ", ".join(f"{amount:,} {what}" for what, amount in parts.items() if amount)
    return f"{usage.total_tokens:,} tokens" + (f" ({details})" if details else "")


def _print_answer(result: ResultDocument, seconds: float) -> None:
    warnings = [f"{image.name}: {said}" for image in result.images for said in image.warnings]
    for warning in (*result.warnings, *warnings):
        click.echo(f"warning: {warning}", err=True)
    click.echo(result.text)
    about = "~" if result.cost_is_estimate and result.cost_rub else ""
    parts = (
        result.model,
        _tokens(result.usage),
        f"{about}{result.to_public()['cost_rub']} ₽",
        f"{seconds:.1f} s",
        *(f"not {step.model} ({step.reason})" for step in result.steps),
        *(["cached"] if result.cached and not result.near else []),
        *([f"near-duplicate, distance {result.near.distance}"] if result.near else []),
        *(["simulated"] if result.simulated else []),
    )
    # NO_COLOR: https://no-color.org; click leaves the codes out where no terminal shows them.
    line = " · ".join(parts)
    click.echo(line if os.environ.get("NO_COLOR") else click.style(line, dim=True))
