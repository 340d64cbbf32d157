"""The provider's list of models (`GET /models`): their names, and when they shut down.

Workers fetch it and store it in Redis, for processes without an API key.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from difflib import SequenceMatcher
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from visionq.contract.limits import MODEL_NAME
from visionq.data import bare_model, vendor_of
from visionq.names import PROVIDER_MODEL_ENDS, PROVIDER_MODELS
from visionq.pricing.models import end_of, replacement_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redis import Redis

    from visionq.pricing.vision import VisionRules

#: Seconds for which a list is used when no newer one can be fetched.
_KEPT: Final = 7 * 24 * 3600
_MOST: Final = 5_000
#: Characters of `YYYY-MM-DD`; a time may follow.
_DAY: Final = 10


@dataclass(frozen=True, slots=True)
class ListedModels:
    """The models that a provider lists."""

    #: As the provider spells them, a vendor prefix included.
    names: frozenset[str]
    #: Bare name → shutdown date, if the list gives one.
    ends: Mapping[str, date] = field(default_factory=lambda: MappingProxyType({}))

    def __contains__(self, model: str) -> bool:
        """Return whether the model is listed, with or without its vendor prefix."""
        return bare_model(model) in map(bare_model, self.names)

    def covers(self, model: str) -> bool:
        """Return whether other models of the same vendor are listed."""
        vendor = vendor_of(bare_model(model))
        return vendor in {vendor_of(bare_model(name)) for name in self.names}


def merge_lists(lists: Iterable[ListedModels | None]) -> ListedModels | None:
    """Merge the lists of all addresses of a provider; None if there is none."""
    known = [each for each in lists if each is not None]
    names = frozenset[str]().union(*(each.names for each in known))
    ends = {name: day for each in known for name, day in each.ends.items()}
    return ListedModels(names, ends) if known else None


def parse_model_list(body: object) -> ListedModels | None:
    """Parse the answer to `GET /models`; None if it is no model list."""
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        return None
    names: dict[str, date | None] = {}
    for row in islice(rows, _MOST):
        if isinstance(row, dict) and _is_name(name := row.get("id")):
            names[str(name)] = _day(row.get("shutdown_date"))
    ends = {bare_model(name): day for name, day in names.items() if day is not None}
    return ListedModels(frozenset(names), ends) if names else None


def note_model_list(redis: Redis, listed: ListedModels) -> None:
    """Replace the stored list."""
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.delete(PROVIDER_MODELS, PROVIDER_MODEL_ENDS)
        pipeline.sadd(PROVIDER_MODELS, *listed.names)
        pipeline.expire(PROVIDER_MODELS, _KEPT)
        if listed.ends:
            days = {name: day.isoformat() for name, day in listed.ends.items()}
            pipeline.hset(PROVIDER_MODEL_ENDS, mapping=days)  # type: ignore[arg-type] # dict is invariant
            pipeline.expire(PROVIDER_MODEL_ENDS, _KEPT)
        pipeline.execute()


def read_model_list(redis: Redis) -> ListedModels | None:
    """Return the list that a worker stored in the last 7 days, or None."""
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.smembers(PROVIDER_MODELS)
        pipeline.hgetall(PROVIDER_MODEL_ENDS)
        names: Any
        days: Any
        names, days = pipeline.execute()
    ends = {name.decode(): _day(day.decode()) for name, day in days.items()}
    known = {name: day for name, day in ends.items() if day is not None}
    return ListedModels(frozenset(name.decode() for name in names), known) if names else None


def nearest_model(model: str, listed: ListedModels, rules: VisionRules, today: date) -> str | None:
    """Return the listed model nearest to one that is not; None if all have ended.

    The announced replacement comes first; then the most similar name in the model's family, among
    the models known to take pictures, or among all.
    """
    there = sorted(name for name in listed.names if not _has_ended(name, listed, today))
    replacement = replacement_of(model)
    for name in there:
        if bare_model(name) == replacement:
            return name
    family = rules.family_of(model)
    seeing = [name for name in there if rules.family_of(name) is not None]
    kin = [name for name in seeing if rules.family_of(name) is family]
    return max(kin or seeing or there, key=lambda name: _likeness(model, name), default=None)


def unlisted_warning(
    model: str, listed: ListedModels | None, rules: VisionRules, today: date
) -> str | None:
    """Return a warning if the provider does not list a model, with the nearest one."""
    if listed is None or model in listed or not listed.covers(model):
        return None
    nearest = nearest_model(model, listed, rules, today)
    other = f"; the nearest model that it lists is {nearest}" if nearest else ""
    return f"the provider does not list {model}{other}"


def _has_ended(model: str, listed: ListedModels, today: date) -> bool:
    end = end_of(model, listed.ends)
    return end is not None and end.days_left(today) <= 0


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, bare_model(one), bare_model(other), autojunk=False).ratio()


def _is_name(name: object) -> bool:
    try:
        MODEL_NAME.validate_python(name, strict=True)
    except ValidationError:
        return False
    return True


def _day(text: object) -> date | None:
    with suppress(ValueError):
        return date.fromisoformat(text[:_DAY]) if isinstance(text, str) else None
    return None
