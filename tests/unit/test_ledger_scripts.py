"""The scripts as text."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import pytest

from visionq.contract import DelayReason
from visionq.contract.states import HINTED, State
from visionq.ledger.scripts import script_text
from visionq.lua import (
    FOLDERS,
    code_of,
    definitions_of,
    includes_of,
    script_names,
    words_of,
)

SCRIPTS: Final = script_names()
#: Lua takes 200 in one function, and a script is one: this leaves room for the next features.
MOST_LOCALS: Final = 155
SHARED: Final = [
    f"{domain.name}/{file.name.removesuffix('.lua')}"
    for folder in FOLDERS.values()
    for domain in folder.iterdir()
    if domain.is_dir()
    for file in domain.iterdir()
]
_STRING_OR_FIELD: Final = re.compile(r"'[^'\n]*'|[.:]\w+")
_DECLARED: Final = re.compile(r"\blocal (?:function )?([\w, ]+)|function \w*\(([\w, ]+)\)")


def names_of(path: str) -> set[str]:
    return {name for names, _ in definitions_of(code_of(path)) for name in names}


OWNERS: Final = {name: path for path in SHARED for name in names_of(path)}


def test_shared_names_are_unique() -> None:
    """No shared file gives a name that another gives, or that a script declares for itself."""
    names = Counter(name for path in SHARED for name in names_of(path))
    assert [name for name, files in names.items() if files > 1] == []
    for path in (*SHARED, *SCRIPTS):
        for found in _DECLARED.findall(code_of(path)):
            declared = {name for part in found for name in re.split(", *", part.strip())}
            assert {name for name in declared if OWNERS.get(name, path) != path} == set(), path


@pytest.mark.parametrize("path", SHARED)
def test_shared_files_only_define(path: str) -> None:
    """A file that others include does nothing by itself, so its unused parts can be left out."""
    code = code_of(path)
    assert "".join(text for _, text in definitions_of(code)).strip() == code.strip()


@pytest.mark.parametrize("path", [*SHARED, *SCRIPTS])
def test_includes_are_what_a_file_uses(path: str) -> None:
    """The head of a file names every file whose definitions it uses, and no other, in order."""
    used = {OWNERS.get(word, path) for word in words_of(_STRING_OR_FIELD.sub("", code_of(path)))}
    assert includes_of(path) == sorted(used - {path})


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_stay_within_luas_limit(name: str) -> None:
    """A script with all that it uses stays clear of Lua's limit on locals."""
    names = [one for found, _ in definitions_of(script_text(name)) for one in found]
    assert len(names) <= MOST_LOCALS


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_carry_only_what_they_use(name: str) -> None:
    """Each definition of a shared file that is in a script is used there."""
    words = Counter(re.findall(r"\w+", _STRING_OR_FIELD.sub("", script_text(name))))
    assert [one for one in OWNERS if words[one] == 1] == []


@pytest.mark.parametrize("path", [*SHARED, *SCRIPTS])
def test_states_and_reasons_come_from_python(path: str) -> None:
    """No state or reason is spelt out in Lua: Python's enums say what it is called."""
    spelt = set(re.findall(r"'(\w+)'", code_of(path)))
    # Who set a limit is an operator, too, and the batch of a job is a field.
    fields = {DelayReason.OPERATOR, DelayReason.BATCH}
    assert spelt & ({*State, HINTED, *DelayReason} - fields) == set()
