"""What an answer says of a picture in the terms of photo libraries: title, keywords and so on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Property → the fields of an answer that hold it, the first that is there.
USUAL_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "title": ("title", "headline", "name"),
    "description": ("description", "caption"),
    "keywords": ("tags", "keywords"),
    "hierarchy": ("hierarchical_tags", "hierarchy"),
    "alt": ("alt", "alt_text"),
}
#: Between the levels of a hierarchical keyword: `animal|dog`, as Lightroom writes it.
LEVELS: Final = "|"
#: Values beyond these are mistakes of a model, and some readers stop at them.
_LONGEST: Final = 5_000
_MOST_KEYWORDS: Final = 500


@dataclass(frozen=True, slots=True)
class PictureMetadata:
    """Empty values are not written."""

    title: str = ""
    description: str = ""
    alt: str = ""
    keywords: tuple[str, ...] = ()
    hierarchy: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.title or self.description or self.alt or self.keywords or self.hierarchy)

    @property
    def caption(self) -> str:
        """One text for trainers: the description, else the keywords."""
        return self.description or ", ".join(self.keywords) or self.title or self.alt


def metadata_of(row: Mapping[str, Any], fields: Mapping[str, str]) -> PictureMetadata:
    """Return the metadata in a row of OUT; `fields` maps properties to answer fields.

    An answer without fields is a description.
    """
    data = row.get("data")
    if not isinstance(data, dict):
        return PictureMetadata(description=_clean(row.get("text")))
    values = {
        name: _first(data, [fields[name]] if name in fields else usual)
        for name, usual in USUAL_FIELDS.items()
    }
    return PictureMetadata(
        title=_clean(values["title"]),
        description=_clean(values["description"]),
        alt=_clean(values["alt"]),
        keywords=_listed(values["keywords"]),
        hierarchy=_listed(values["hierarchy"]),
    )


def _first(data: Mapping[str, Any], names: Iterable[str]) -> Any:  # noqa: ANN401  # any JSON value
    return next((data[name] for name in names if data.get(name) not in (None, "", [])), None)


def _clean(value: object) -> str:
    """Return a text on one line without characters that XML can't hold."""
    if not isinstance(value, str):
        return ""
    text = "".join(one if one.isprintable() else " " for one in value)
    return " ".join(text.split())[:_LONGEST]


def _listed(value: object) -> tuple[str, ...]:
    """Return keywords, each once, from a list, or from a text with commas."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        return ()
    levels = (LEVELS.join(map(str, one)) if isinstance(one, list) else one for one in value)
    return tuple(dict.fromkeys(filter(None, map(_clean, levels))))[:_MOST_KEYWORDS]
