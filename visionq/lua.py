"""Lua scripts as text.

A script is a file in a folder `lua`. Its first lines say what it includes, as do those of the files
in the folders below, each of which holds one domain:

    -- include: lanes/holds, money/books

Such files define local functions and constants and do nothing else. `K.job` stands for the key that
`visionq/names.py` calls `JOB`, and `State.QUEUED` for the value of that member of a Python enum.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from visionq import names
from visionq.contract import HINTED, DelayReason, State
from visionq.contract.states import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from enum import StrEnum

#: Where scripts are: one for each transition of a job, and those of blobs and dead letters.
FOLDERS: Final = {
    owner: files("visionq") / owner / "lua" for owner in ("ledger", "blobs", "dead_letters")
}
#: States that only the ledger knows.
_OWN_STATES: Final = {"State.HINTED": HINTED, "State.MISSING": MISSING}
_INCLUDE: Final = re.compile(r"^-- include: (.+)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^ *--.*\n|  *-- .*$", re.MULTILINE)
_DEFINITION: Final = re.compile(r"^(?=local )", re.MULTILINE)
_DEFINED: Final = re.compile(r"local (?:function )?([\w, ]+)")
#: A number or text under a name: written where it is used, since Lua takes 200 locals in a script.
_CONSTANT: Final = re.compile(r"^local ([A-Z_]+) = ([^{\n]+)\n", re.MULTILINE)
_CONSTANT_IN_CODE: Final = re.compile(r"'[^'\n]*'|\b[A-Z_]+\b")
_WORD: Final = re.compile(r"\w+")


def script_names(*owners: str) -> tuple[str, ...]:
    """Return the names of all scripts, or of those in the folders of these owners."""
    folders = [FOLDERS[owner] for owner in owners or FOLDERS]
    found = (file.name for folder in folders for file in folder.iterdir() if file.is_file())
    return tuple(sorted(name.removesuffix(".lua") for name in found))


@cache
def script_text(name: str, enums: tuple[type[StrEnum], ...] = ()) -> str:
    """Return a script with what it uses of the files that it includes.

    It knows the states and reasons of the contract, and the given enums. Redis builds each function
    of a script at each call: unused ones would cost more than a claim.
    """
    *included, own = (code_of(path) for path in _in_order(name))
    code = _named(_used("".join(included), own) + own, (State, DelayReason, *enums))
    values = {constant: f"({value})" for constant, value in _CONSTANT.findall(code)}
    return _CONSTANT_IN_CODE.sub(
        lambda found: values.get(found[0], found[0]), _CONSTANT.sub("", code)
    )


def source_of(path: str) -> str:
    """Return a file by its path below one of `FOLDERS`, without the ending `.lua`."""
    files_there = (folder / f"{path}.lua" for folder in FOLDERS.values())
    return next(file for file in files_there if file.is_file()).read_text("utf-8")


def includes_of(path: str) -> list[str]:
    """Return the paths that a file includes."""
    return [one for found in _INCLUDE.findall(source_of(path)) for one in found.split(", ")]


def code_of(path: str) -> str:
    """Return a file without its comments."""
    return _COMMENT.sub("", source_of(path))


def definitions_of(code: str) -> list[tuple[frozenset[str], str]]:
    """Return each definition at the top of a file: its names and its text."""
    return [
        (frozenset(re.split(", *", found[1].strip())), part)
        for part in _DEFINITION.split(code)
        if (found := _DEFINED.match(part))
    ]


def words_of(code: str) -> set[str]:
    """Return all words of a text."""
    return set(_WORD.findall(code))


def _in_order(path: str, done: list[str] | None = None) -> list[str]:
    """Return a file and all that it includes, each after what it includes itself."""
    done = [] if done is None else done
    for one in includes_of(path):
        if one not in done:
            _in_order(one, done)
    done.append(path)
    return done


def _used(included: str, own: str) -> str:
    """Return the definitions that a script uses, or that one of those uses."""
    definitions = definitions_of(included)
    used: set[str] = set()
    new = words_of(own)
    while new:
        used |= new
        new = {w for given, text in definitions if given & new for w in words_of(text)} - used
    return "".join(text for given, text in definitions if given & used)


def _named(code: str, enums: Sequence[type[StrEnum]]) -> str:
    members = {f"{one.__name__}.{member.name}": member for one in enums for member in one}
    kinds = "|".join(one.__name__ for one in enums)

    def value(found: re.Match[str]) -> str:
        key = found["key"]
        known = getattr(names, key.upper()) if key else _OWN_STATES.get(found[0])
        return f"'{known or members[found[0]]}'"

    return re.sub(rf"\bK\.(?P<key>\w+)|\b(?:{kinds})\.\w+", value, code)
