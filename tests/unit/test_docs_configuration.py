from __future__ import annotations

import re
import tomllib

import pytest

from monitoring.flower.flower_settings import FlowerSettings
from producer.gateway.gateway_settings import GatewaySettings
from scripts.generate_configuration import (
    GROUPS,
    ROOT,
    RUSSIAN,
    compose_variables,
    field_comments,
    pages,
    variables,
    with_tables,
)
from visionq.settings import Settings

TABLE = "<!-- table: one -->\n\n| A |\n|---|\n\n<!-- end -->"
HOW = "run .venv/bin/python scripts/generate_configuration.py"


def every_name() -> list[str]:
    groups = (
        *(variables(Settings, group) for group in GROUPS.values()),
        variables(FlowerSettings),
        variables(GatewaySettings),
        compose_variables((ROOT / ".env.example").read_text("utf-8")),
    )
    return [one.name for group in groups for one in group]


def test_every_variable_has_its_meaning_in_russian() -> None:
    """The Russian meanings are those of the variables that exist: no more, no fewer."""
    assert sorted(tomllib.loads(RUSSIAN.read_text("utf-8"))) == sorted(every_name())


@pytest.mark.parametrize("name", ["docs/configuration.md", "docs/configuration.ru.md"])
def test_tables_are_those_of_the_settings(name: str) -> None:
    """A committed table says what the settings say now."""
    path = ROOT / name
    assert path.read_text("utf-8") == pages()[path], HOW


@pytest.mark.parametrize("name", ["docs/configuration.md", "docs/configuration.ru.md"])
def test_a_page_explains_every_variable(name: str) -> None:
    """Each variable has its row on each page, once."""
    rows = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / name).read_text("utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(every_name())


@pytest.mark.parametrize(
    "page", ["", "<!-- table: one -->\n\n| A |\n|---|\n<!-- end -->", f"{TABLE}\n{TABLE}"]
)
def test_a_page_without_its_tables_is_told(page: str) -> None:
    """A table that is absent, doubled or not in the form that gets filled is never passed over."""
    with pytest.raises(ValueError, match="check their marks"):
        with_tables(page, {"one": []})


def test_a_field_without_a_comment_is_told() -> None:
    """A setting that nobody explains can't get into the table."""
    with pytest.raises(ValueError, match="silent has no"):
        field_comments("class A:\n    #: Said.\n    said: int = 1\n    silent: int = 2\n")


def test_a_comment_of_several_lines_is_joined() -> None:
    """A comment may take as many lines as it needs; others above it are not part of it."""
    source = "class A:\n    # Not this.\n    #: One\n    #: two.\n    field: int = 1\n"
    assert field_comments(source) == {"field": "One two."}
