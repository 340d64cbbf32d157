"""The scripts as text."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files

import pytest

from visionq.ledger.scripts import SCRIPTS, script_text

#: Lua takes 200 in one function, and a script is one: this leaves room for the next feature.
MOST_LOCALS = 180
_LOCAL = re.compile(r"^local (?:function )?([\w, ]+)", re.MULTILINE)


def _locals(text: str) -> list[str]:
    return [name.strip() for found in _LOCAL.findall(text) for name in found.split(",")]


def test_shared_parts_have_names_of_their_own() -> None:
    """No part of what scripts share hides a name of another part."""
    shared = files("visionq.ledger") / "lua" / "shared"
    names = Counter(
        name for part in shared.iterdir() for name in set(_locals(part.read_text(encoding="utf-8")))
    )
    assert [name for name, parts in names.items() if parts > 1] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_stay_within_luas_limit(name: str) -> None:
    """A script with all that it shares stays clear of Lua's limit on locals."""
    assert len(_locals(script_text(name))) < MOST_LOCALS


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_carry_only_what_they_use(name: str) -> None:
    """Whatever function of the shared parts stands in a script is called in it."""
    code = re.sub(r"--.*", "", script_text(name))
    functions = re.findall(r"^local function (\w+)", code, re.MULTILINE)
    assert [one for one in functions if len(re.findall(rf"\b{one}\b", code)) < 2] == []


def test_scripts_keep_what_they_use() -> None:
    """A script has every shared function that it calls, through others as well."""
    shared = files("visionq.ledger") / "lua" / "shared"
    text = "\n".join(part.read_text(encoding="utf-8") for part in shared.iterdir())
    known = set(re.findall(r"^local function (\w+)", text, re.MULTILINE))
    for name in SCRIPTS:
        code = re.sub(r"--.*", "", script_text(name))
        called = {one for one in re.findall(r"\b(\w+)\(", code) if one in known}
        assert called <= set(re.findall(r"^local function (\w+)", code, re.MULTILINE)), name
