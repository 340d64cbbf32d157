"""Check price, pictures and shutdown date of the configured model, and installed versions."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from visionq.cli.doctor.findings import Finding, not_known, ok, problem, warning
from visionq.data import vendor_of
from visionq.pricing.batch_lane import load_batch_table
from visionq.pricing.model_list import nearest_model, unlisted_warning
from visionq.pricing.models import end_of, warning_for
from visionq.pricing.prices import load_prices
from visionq.pricing.vision import load_rules
from visionq.providers import load_profile
from visionq.settings import ConfigurationError
from visionq.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from visionq.cli.doctor.findings import Detail
    from visionq.pricing.model_list import ListedModels
    from visionq.pricing.models import ModelEnd
    from visionq.pricing.prices import PriceTable
    from visionq.settings import Settings

#: Days after which prices need another look.
_OLD: Final = 90
_CORRECT: Final = "correct the file; workers do not start"
_LIST: Final = "https://proxyapi.ru/pricing/list"
_REPLACE: Final = f"compare with {_LIST}, and name your own table in VISIONQ_PRICES_FILE"


def table_findings(
    settings: Settings, today: date, listed: ListedModels | None = None
) -> list[Finding]:
    """Return findings about the configured model from data files and the provider's list."""
    model = settings.default_model
    try:
        prices = load_prices(settings.prices_file)
    except ConfigurationError as error:
        found = [problem("prices.table", error.message, _CORRECT)]
    else:
        source = str(settings.prices_file) if settings.prices_file else "built in"
        found = [_table(prices, source, today), _price(prices, model)]
    return [*found, _end(model, listed, today), _vision(settings), _batches(settings)]


def listed_finding(model: str, listed: ListedModels, today: date) -> Finding:
    """Return whether the provider lists the configured model."""
    check, words = "provider.model", unlisted_warning(model, listed, load_rules(), today)
    if not listed.covers(model):
        message = f"the provider lists no model of {vendor_of(model) or 'OpenAI'}, nor {model}"
        return not_known(check, message, "ask one question with it, to see whether it is there")
    if words is None:
        return ok(check, f"the provider lists {model}", model=model)
    advice = "choose one that it lists in VISIONQ_DEFAULT_MODEL"
    nearest = nearest_model(model, listed, load_rules(), today)
    return warning(check, words, advice, model=model, nearest=nearest)


def _table(prices: PriceTable, source: str, today: date) -> Finding:
    check, rows = "prices.table", prices.prices
    oldest, unconfirmed = min(row.date for row in rows), sum(not row.confirmed for row in rows)
    age = (today - oldest).days
    message = (
        f"{counted(len(rows), 'price')} ({source}), the oldest of {oldest} ({counted(age, 'day')})"
    )
    if unconfirmed:
        message += f"; {unconfirmed} never compared with a bill"
    level, advice = (warning, _REPLACE) if unconfirmed or age > _OLD else (ok, None)
    figures = {"rows": len(rows), "unconfirmed": unconfirmed}
    return level(check, message, advice, source=source, oldest=str(oldest), **figures)


def _price(prices: PriceTable, model: str) -> Finding:
    check, price = "model.price", prices.for_model(model)
    if price is None:
        message = f"{model} has no price: what its calls cost is not known"
        return warning(check, message, f"add a row for it: {_REPLACE}", model=model)
    kind = "confirmed" if price.confirmed else "an estimate"
    message = (
        f"{model}: {price.input} ₽ and {price.output} ₽ a million tokens in and out"
        f" ({kind}, {price.date}, {price.source})"
    )
    return ok(check, message, model=model, confirmed=price.confirmed, date=str(price.date))


def _end(model: str, listed: ListedModels | None, today: date) -> Finding:
    check, dates = "model.end", listed.ends if listed is not None else {}
    end, words = end_of(model, dates), warning_for(model, today, dates)
    if end is None:
        return ok(check, f"no end of {model} is announced", model=model, ends=None)
    if words is None:
        return ok(check, f"{model} is there until {end.on}", model=model, ends=str(end.on))
    say = problem if end.days_left(today) <= 0 else warning
    return say(check, words, _migrate(model, end), model=model, ends=str(end.on))


def _migrate(model: str, end: ModelEnd, named: str = "") -> str:
    other = end.replacement or "OTHER"
    return (
        f"visionq models migrate {model} {other}{named} compares the two over your own questions,"
        " and moves jobs there"
    )


def ending_findings(
    models: Iterable[str], settings: Settings, listed: ListedModels | None, today: date
) -> list[Finding]:
    """Return a finding for each ending model in use besides the default."""
    check, found = "model.named", []
    dates = listed.ends if listed is not None else {}
    for model in sorted(set(models) - {settings.default_model}):
        end, words = end_of(model, dates), warning_for(model, today, dates)
        if end is not None and words is not None:
            advice = _migrate(model, end, " --named")
            found.append(warning(check, f"in use: {words}", advice, model=model, ends=str(end.on)))
    return found


def _vision(settings: Settings) -> Finding:
    check, model = "model.pictures", settings.default_model
    try:
        family = load_rules(settings.vision_file).family_of(model)
    except ConfigurationError as error:
        return problem(check, error.message, _CORRECT)
    if family is None:
        message = f"how {model} counts pictures is not known; forecasts take the most of any model"
        advice = "trust the bill, not the forecast, or choose a model that is known"
        return warning(check, message, advice, model=model)
    message = f"how {model} counts pictures is known ({family.source}, {family.date})"
    return ok(check, message, model=model, family=family.name)


def _batches(settings: Settings) -> Finding:
    check, model = "model.batches", settings.default_model
    try:
        limits = load_batch_table(settings.batches_file).for_model(model)
        profile = load_profile(settings.provider)
        price = load_prices(settings.prices_file).of_batch(model)
    except ConfigurationError as error:
        return problem(check, error.message, _CORRECT)
    terms = profile.batches
    if terms is None or not any(profile.has_batches(model, api) for api in terms.apis):
        message = f"{profile.name} has no batches of {model}, as far as is known: all goes online"
        return ok(check, message, model=model, hours=None)
    cost = f"{price.input} ₽ and {price.output} ₽ a million tokens, " if price else ""
    is_confirmed = limits.confirmed and terms.confirmed
    message = (
        f"{model} in batches: {cost}within {terms.window_hours} hours; at most {limits.lines:,}"
        f" lines, {limits.bytes:,} bytes, {limits.enqueued_tokens:,} tokens enqueued"
        f" ({'confirmed' if is_confirmed else 'unconfirmed'}, {limits.date})"
    )
    return ok(check, message, model=model, hours=terms.window_hours, date=str(limits.date))


_PACKAGES: Final = ("visionq", "celery", "kombu", "redis", "openai", "pillow")


def versions_finding() -> Finding:
    """Return the versions of Python and the packages that matter; clients have fewer of them."""
    found: dict[str, Detail] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    message = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    if absent := [name for name, number in found.items() if number is None]:
        message += f"; not installed here: {', '.join(absent)}"
    return ok("versions", message, **found)
