"""Writes the tables of docs/configuration.md and docs/configuration.ru.md from the settings.

The English meaning of a variable is the `#:` comment above its field, or, for what Compose alone
reads, its line in .env.example. The Russian one is in docs/configuration.ru.toml.

    .venv/bin/python scripts/generate_configuration.py
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from monitoring.flower.flower_settings import FlowerSettings
from producer.gateway.gateway_settings import GatewaySettings
from visionq.settings import (
    JobSettings,
    OperationSettings,
    PictureSettings,
    ProviderSettings,
    RedisSettings,
    RetentionSettings,
    Settings,
)

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

ROOT: Final = Path(__file__).parents[1]
RUSSIAN: Final = ROOT / "docs/configuration.ru.toml"
#: Table of the pages → its group of the settings.
GROUPS: Final[dict[str, type[BaseModel]]] = {
    "provider": ProviderSettings,
    "redis": RedisSettings,
    "jobs": JobSettings,
    "retention": RetentionSettings,
    "pictures": PictureSettings,
    "operation": OperationSettings,
}
_COMPOSE: Final = "# --- Docker Compose only"
#: A table on a page: its mark and two lines of headings, its group, its rows.
_TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n\n(?:\|.*\n){2})(?:\|.*\n)*\n<!-- end -->")


@dataclass(frozen=True)
class Variable:
    """A variable of the environment; an empty default means that it is not set."""

    name: str
    default: str
    meaning: str


def pages() -> dict[Path, str]:
    """Return path → text of both pages, with the tables as they should be.

    Raises:
        KeyError: a variable has no Russian meaning yet; its name is the key.
        ValueError: a field has no comment, or a page lacks a table or its form.
    """
    groups = {
        **{name: variables(Settings, group) for name, group in GROUPS.items()},
        "flower": variables(FlowerSettings),
        "gateway": variables(GatewaySettings),
        "compose": compose_variables((ROOT / ".env.example").read_text("utf-8")),
    }
    meanings = tomllib.loads(RUSSIAN.read_text("utf-8"))
    in_russian = {
        name: [replace(one, meaning=meanings[one.name]) for one in group]
        for name, group in groups.items()
    }
    english, russian = ROOT / "docs/configuration.md", ROOT / "docs/configuration.ru.md"
    return {
        english: with_tables(english.read_text("utf-8"), groups),
        russian: with_tables(russian.read_text("utf-8"), in_russian),
    }


def variables(settings: type[BaseSettings], group: type[BaseModel] | None = None) -> list[Variable]:
    """Return the variables that a settings class reads, or one group of it."""
    prefix = settings.model_config["env_prefix"]
    comments = field_comments(inspect.getsource(group or settings))
    return [
        Variable(_name(name, field, prefix), _shown(field.default), comments[name])
        for name, field in settings.model_fields.items()
        if name in comments
    ]


def field_comments(source: str) -> dict[str, str]:
    """Return field → the `#:` comment above it, for a class that begins the source."""
    lines = source.splitlines()
    (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    found = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = last = node.lineno - 1
            while lines[first - 1].strip().startswith("#:"):
                first -= 1
            if first == last:
                raise ValueError(f"{node.target.id} has no `#:` comment of its own above it")
            said = (line.strip().removeprefix("#:").strip() for line in lines[first:last])
            found[node.target.id] = " ".join(said)
    return found


def compose_variables(example: str) -> list[Variable]:
    """Return what the last part of .env.example explains."""
    _, found, part = example.partition(_COMPOSE)
    if not found:
        raise ValueError(f".env.example has no part `{_COMPOSE}`")
    return [
        Variable(match[1], f"`{match[2]}`" if match[2] else "", before.removeprefix("# "))
        for before, line in pairwise(part.splitlines())
        if (match := re.fullmatch(r"#?([A-Z_]+)=(.*)", line))
    ]


def _name(name: str, field: FieldInfo, prefix: str) -> str:
    alias = field.validation_alias
    choices = getattr(alias, "choices", [alias] if alias else [prefix + name.upper()])
    return str(choices[0])


def _shown(default: object) -> str:
    if default in (None, "", ()):
        return ""
    return f"`{int(default) if isinstance(default, bool) else default}`"


def with_tables(page: str, groups: dict[str, list[Variable]]) -> str:
    """Return the page with the rows of each table replaced.

    A table's headings are the page's own: they are in its language.
    """
    tables = [match[2] for match in _TABLE.finditer(page)]
    if sorted(tables) != sorted(groups):
        raise ValueError(f"the page's tables are {tables}, not {list(groups)}: check their marks")

    def table(match: re.Match[str]) -> str:
        rows = [f"| `{one.name}` | {one.default} | {one.meaning} |" for one in groups[match[2]]]
        return match[1] + "\n".join((*rows, "", "<!-- end -->"))

    return _TABLE.sub(table, page)


def main() -> None:
    """Write both pages."""
    for path, text in pages().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
