"""Ground truth of each picture, and what models of different quality answer.

A picture is known by its dominant colour, which scaling leaves as it is. All follows from a seed:
the same picture has the same truth, and the same model errs in the same places.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, Final

from visionq.answer_schemas import pointed_at
from visionq.devstack.simulator.instances import instance

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Words of free texts.
_WORDS: Final = (
    ("old", "new", "small", "large", "broken", "clean", "dark", "bright"),
    ("table", "lamp", "bicycle", "jacket", "kettle", "window", "box", "chair"),
    ("in a kitchen", "on a street", "by a wall", "in a shop", "on grass", "at night"),
)
#: Bounds of numbers whose schema gives none.
_LOWEST, _HIGHEST = 0, 100
#: The field of a judge's verdict, and the marks of the texts that it judges.
_VERDICT: Final = "better"
_MARKS: Final = ("first", "second")


#: The field that says how sure a model is.
_SURENESS: Final = "confidence"


class SimulatedSureness(StrEnum):
    """How a model's sureness goes with the rightness of its answers."""

    INFORMED = "informed"
    """Higher where it is right."""
    UNINFORMED = "uninformed"
    """Drawn by itself."""
    ADVERSARIAL = "adversarial"
    """Higher where it is wrong."""


@dataclass(frozen=True)
class Quality:
    """A model's accuracy per field, and the seed of the ground truth."""

    seed: int
    model: str
    #: Share of the fields that the model reports as they are.
    accuracy: float
    #: What `confidence`, a field of the schema, says of the others.
    sureness: SimulatedSureness | None = None

    def answer(self, schema: Mapping[str, Any], value: object, picture: str) -> Any:  # noqa: ANN401  # any JSON value
        """Return this model's answer: `value` with drawn leaves."""
        found = self._filled(schema, schema, value, (picture,))
        if self.sureness is not None and isinstance(found, dict) and _SURENESS in found:
            found[_SURENESS] = self._sureness(found, (picture,))
        return found

    def probability(self, text: str, picture: str) -> float | None:
        """Return the probability of an answer's tokens, where the model has a sureness."""
        try:
            answer = json.loads(text)
        except ValueError:
            return None
        if self.sureness is None or not isinstance(answer, dict):
            return None
        return self._sureness(answer, (picture,))

    def _sureness(self, answer: Mapping[str, Any], path: tuple[str, ...]) -> float:
        """Return a high number where the answer is right, or wrong, or regardless of it."""
        is_right = all(
            isinstance(value, dict) or self._is_right(*path, name)
            for name, value in answer.items()
            if name != _SURENESS
        )
        share = self._draw("sureness", self.model, *path).random()
        high, low = 0.7 + 0.3 * share, 0.8 * share
        if self.sureness is SimulatedSureness.UNINFORMED:
            return round(share, 3)
        return round(high if is_right == (self.sureness is SimulatedSureness.INFORMED) else low, 3)

    def text(self, picture: str) -> str:
        """Return the answer of this model to a question without a schema."""
        draw = self._draw("truth", picture, "text")
        return _phrase(draw if self._is_right(picture, "text") else self._draw("lie", picture))

    def _filled(
        self, schema: object, root: Mapping[str, Any], value: object, path: tuple[str, ...]
    ) -> object:
        found = _resolved(schema, root)
        if isinstance(value, dict):
            properties = found.get("properties") or {}
            return {
                name: self._filled(properties.get(name, {}), root, one, (*path, name))
                for name, one in value.items()
            }
        truth = _drawn(found, value, self._draw("truth", *path))
        if self._is_right(*path):
            return truth
        for attempt in range(8):
            lie = _drawn(found, value, self._draw("lie", str(attempt), *path))
            if lie != truth:
                return lie
        return truth  # there is but one value

    def _is_right(self, *path: str) -> bool:
        return self._draw("right", self.model, *path).random() < self.accuracy

    def _draw(self, *parts: str) -> Random:
        """Return a random generator for a purpose; only errors depend on the model."""
        own = (self.model,) if parts[0] == "lie" else ()
        key = json.dumps([self.seed, *parts, *own]).encode()
        return Random(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))  # noqa: S311  # a game


def truth_of(schema: Mapping[str, Any], picture: str, seed: int = 0) -> Any:  # noqa: ANN401  # any JSON value
    """Return the ground truth of a picture, in the form of a schema."""
    return Quality(seed, "", 1.0).answer(schema, instance(schema, ""), picture)


def verdict(texts: Sequence[str], truth: str) -> str | None:
    """Return which of two marked texts contains the truth."""
    whole = "\n".join(texts)
    said = [_between(whole, f"<{mark}>", f"</{mark}>") for mark in _MARKS]
    if None in said:
        return None
    fits = [truth in (one or "") for one in said]
    if fits[0] == fits[1]:
        return "equal"
    return _MARKS[fits.index(True)]


def is_judging(schema: Mapping[str, Any]) -> bool:
    """Return whether a question asks which of two texts is better."""
    return set(schema.get("properties") or ()) == {_VERDICT}


def _between(text: str, begins: str, ends: str) -> str | None:
    _, found, rest = text.partition(begins)
    inner, closed, _ = rest.partition(ends)
    return inner if found and closed else None


def _drawn(schema: Mapping[str, Any], value: object, draw: Random) -> object:
    """Return a drawn value of a leaf, if its schema is plain."""
    options = schema.get("enum")
    if isinstance(options, list) and value in options:
        return draw.choice(options)
    if isinstance(value, bool):
        return draw.random() < 0.5  # noqa: PLR2004  # a coin
    if isinstance(value, int | float) and "multipleOf" not in schema:
        return _number(schema, value, draw)
    if isinstance(value, list):
        return _listed(schema, value, draw)
    is_plain = not {"pattern", "format", "minLength", "maxLength", "const"} & set(schema)
    return _phrase(draw) if isinstance(value, str) and is_plain else value


def _number(schema: Mapping[str, Any], value: float, draw: Random) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    low = (_LOWEST if high is None else high - _HIGHEST) if low is None else low
    high = low + _HIGHEST if high is None else high
    if isinstance(value, int):
        first, last = math.ceil(low), math.floor(high)
        first += "exclusiveMinimum" in schema and first == low
        last -= "exclusiveMaximum" in schema and last == high
        return draw.randint(first, last) if first <= last else value
    found = round(draw.uniform(low, high), 2)
    return found if low < found < high else value


def _listed(schema: Mapping[str, Any], value: list[Any], draw: Random) -> list[Any]:
    """Return some of a list's possible items, each once."""
    items = schema.get("items")
    options = items.get("enum") if isinstance(items, Mapping) else None
    if not isinstance(options, list) or "prefixItems" in schema:
        return value
    least = max(1, schema.get("minItems", 0))
    most = max(least, min(len(options), schema.get("maxItems", len(options))))
    if least > len(options):
        return value
    return draw.sample(options, draw.randint(least, most))


def _phrase(draw: Random) -> str:
    return "A " + " ".join(draw.choice(words) for words in _WORDS)


def _resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference within the schema; take no alternative."""
    if not isinstance(schema, Mapping):
        return {}
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found = pointed_at(root, reference) or {}
    return {} if "$ref" in found else found
