"""A shortest-first example of a regular expression, for strings that must match one."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# The standard library's own parser; `sre_parse`, its public name, is deprecated without successor.
_parser: Any = import_module("re._parser")

#: What the parser gives beside an operation: a character code, a tuple, a list.
Token: TypeAlias = Any

#: Characters tried where an expression leaves the choice.
CANDIDATES: Final = "a0A -_.,:/@#" + "".join(map(chr, range(33, 127)))
#: Repetitions tried beyond the least, to reach a length.
MOST_REPEATS: Final = 64


def example(pattern: str, least: int = 0, most: int | None = None) -> str | None:
    """Return a string of `least` to `most` characters that matches; `None`: none was found."""
    try:
        tree = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return None
    for repeats in range(MOST_REPEATS + 1):
        text = _sequence(tree, repeats, {})
        if text is None:
            return None
        fits = len(text) >= least and (most is None or len(text) <= most)
        if fits and re.search(pattern, text):
            return text
    return None


def _sequence(tree: Iterable[Any], repeats: int, groups: dict[int, str]) -> str | None:
    parts = []
    for operation, argument in tree:
        part = _one(str(operation), argument, repeats, groups)
        if part is None:
            return None
        parts.append(part)
    return "".join(parts)


def _one(operation: str, argument: Token, repeats: int, groups: dict[int, str]) -> str | None:
    make = _SINGLE.get(operation)
    if make is not None:
        return make(argument)
    if operation == "GROUPREF":
        return groups.get(argument)
    if operation == "BRANCH":
        options = (_sequence(option, repeats, groups) for option in argument[1])
        return next((option for option in options if option is not None), None)
    if operation == "SUBPATTERN":
        text = _sequence(argument[3], repeats, groups)
        if text is not None and argument[0] is not None:
            groups[argument[0]] = text
        return text
    if operation.endswith("_REPEAT"):
        least, most, tree = argument
        text = _sequence(tree, repeats, groups)
        return None if text is None else text * min(least + repeats, int(most))
    return None


def _member(items: list[tuple[Any, Any]]) -> str | None:
    """Return a character of a set such as `[a-z0-9]` or `[^"]`."""
    negated = str(items[0][0]) == "NEGATE"
    listed = [chr(value) for name, value in items if str(name) == "LITERAL"]
    listed += [chr(value[0]) for name, value in items if str(name) == "RANGE"]
    choices = CANDIDATES if negated else [*listed, *CANDIDATES]
    return next((char for char in choices if _listed(char, items) is not negated), None)


def _listed(char: str, items: list[tuple[Any, Any]]) -> bool:
    for kind, value in items:
        name = str(kind)
        if name == "LITERAL" and ord(char) == value:
            return True
        if name == "RANGE" and value[0] <= ord(char) <= value[1]:
            return True
        if name == "CATEGORY" and _in_category(char, str(value)):
            return True
    return False


def _in_category(char: str, category: str) -> bool:
    kind = category.removeprefix("CATEGORY_").removeprefix("NOT_")
    classes = {"DIGIT": char.isdigit(), "SPACE": char.isspace()}
    found = classes.get(kind, char.isalnum() or char == "_")
    return found is not category.startswith("CATEGORY_NOT_")


#: Parts that are one character or none.
_SINGLE: Final[dict[str, Callable[[Token], str | None]]] = {
    "LITERAL": chr,
    "NOT_LITERAL": lambda code: next(char for char in CANDIDATES if ord(char) != code),
    "ANY": lambda _: CANDIDATES[0],
    "IN": _member,
    "AT": lambda _: "",
}
