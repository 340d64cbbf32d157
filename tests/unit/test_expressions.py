"""No regular expression of visionq takes more than linear time, on any text."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import monitoring
import producer
import visionq
import worker
from tests.support.growth import growth
from worker.provider.refusal_rules import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGES = (visionq, producer, worker, monitoring)
ROOT = Path(str(visionq.__file__)).parents[1]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
METHODS = frozenset({"match", "fullmatch", "search", "sub", "subn", "finditer", "findall"})
#: Made while running: of a key that is quoted, of a path or glob that the operator names himself,
#: and of rows that are looked at below; the simulator, made for tests, applies what it gets.
MADE_LATER = {
    "visionq/data/__init__.py": 1,
    "producer/sources/files.py": 2,
    "producer/sources/source.py": 1,
    "worker/provider/refusal_rules.py": 1,
    "visionq/devstack/simulator/instances.py": 1,
    "visionq/devstack/children.py": 1,  # for globals, which are found
    "visionq/lua.py": 2,  # for scripts of visionq alone
    "visionq/cli/__init__.py": 2,  # for its own commands
}
#: Repetitions, few at first: what grows exponentially must be found before it takes for ever.
REPEATS = (4, 8, 12, 16, 20, 24, 28, 32, 48, 64)
LENGTHS = (256, 1024, 4096, 16384)
#: Applied to files of visionq alone.
OWN_TEXTS = {"visionq/cli/__init__.py", "visionq/lua.py"}


class Use(NamedTuple):
    """An expression, and how the code applies it."""

    where: str
    pattern: re.Pattern[Any]
    method: str


# What there is ------------------------------------------------------------------------------------


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield path and syntax of each module that uses `re`."""
    for package in PACKAGES:
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            assert "python-re" not in source, f"{path}: pydantic's own engine is linear"
            if re.search(r"^import re$", source, re.MULTILINE):
                yield path.relative_to(ROOT).as_posix(), ast.parse(source)
            assert not re.search(r"^from re import|import re as", source, re.MULTILINE)


def held_by(value: object, depth: int = 4) -> Iterator[re.Pattern[Any]]:
    """Yield the expressions in a global, also in tuples, tables and frozen rows."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, tuple | list | set | frozenset):
        for item in value:
            yield from held_by(item, depth - 1)
    elif depth and isinstance(value, dict):
        yield from held_by(list(value.items()), depth - 1)
    elif depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from held_by(
            list(vars(value).values()) if hasattr(value, "__dict__") else [], depth - 1
        )


def calls(tree: ast.AST) -> Iterator[tuple[ast.expr, str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.value, node.func.attr, node


def is_re(owner: ast.expr) -> bool:
    return isinstance(owner, ast.Name) and owner.id == "re"


def methods_of(tree: ast.AST, name: str) -> set[str]:
    """Return how the module applies a global; one in a table is applied through a variable."""
    named: dict[str, set[str]] = {}
    for owner, method, _ in calls(tree):
        if method in METHODS and isinstance(owner, ast.Name) and owner.id != "re":
            named.setdefault(owner.id, set()).add(method)
    variables = (used for variable, used in named.items() if variable.islower())
    return named.get(name) or {method for used in variables for method in used}


def uses() -> Iterator[Use]:
    for path, tree in sources():
        module = importlib.import_module(
            path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        )
        for name, value in vars(module).items():
            for pattern in held_by(value):
                for method in methods_of(tree, name) if path not in OWN_TEXTS else ():
                    yield Use(f"{path} {name}", pattern, method)
        for owner, method, call in calls(tree):
            literal = call.args[0] if call.args else None
            if is_re(owner) and method in METHODS and isinstance(literal, ast.Constant):
                yield Use(f"{path}:{call.lineno}", re.compile(literal.value), method)
    for row in TABLE:
        yield Use(
            f"worker/provider/refusal_rules.py {row.error.__name__}",
            re.compile(row.words),
            "search",
        )


# What is held against them ------------------------------------------------------------------------


def sample(tree: Iterable[Any], pick: int = 0) -> str:
    """Return a short text that a parsed expression matches, as far as its conditions go."""
    return "".join(sample_of(str(operation), argument, pick) for operation, argument in tree)


def sample_of(operation: str, argument: Any, pick: int) -> str:  # noqa: PLR0911  # a table
    match operation:
        case "LITERAL":
            return chr(int(argument))
        case "NOT_LITERAL":
            return "b" if argument == ord("a") else "a"
        case "ANY":
            return "a<"[pick]
        case "IN":
            return chosen(argument, pick)
        case "BRANCH":
            return sample(argument[1][pick % len(argument[1])], pick)
        case "SUBPATTERN":
            return sample(argument[3], pick)
        case "ATOMIC_GROUP":
            return sample(argument, pick)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return sample(argument[2], pick) * max(int(argument[0]), 1)
    return ""


def chosen(options: list[tuple[Any, Any]], pick: int) -> str:
    """Return a character of a set, the last or first by `pick`."""
    expression = "".join(describe(str(kind), value) for kind, value in options)
    fits = [c for c in map(chr, range(1, 256)) if re.match(f"[{expression}]", c)]
    return fits[-1 if pick else len(fits) // 2] if fits else ""


def describe(kind: str, value: Any) -> str:
    if kind == "NEGATE":
        return "^"
    if kind == "CATEGORY":
        letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[str(value).rpartition("_")[2]]
        return "\\" + (letter.upper() if "NOT_" in str(value) else letter)
    ends = value if isinstance(value, tuple) else (value,)
    return "-".join(f"\\U{end:08x}" for end in ends)


def pumps(tree: Iterable[Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield for each repetition what leads up to it, and what it repeats."""
    for operation, argument in tree:
        match str(operation):
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                for pick in (0, 1):
                    yield before, sample(argument[2], pick)
                yield from pumps(argument[2], before)
            case "SUBPATTERN":
                yield from pumps(argument[3], before)
            case "ATOMIC_GROUP":
                yield from pumps(argument, before)
            case "BRANCH":
                for branch in argument[1]:
                    yield from pumps(branch, before)
        before += sample_of(str(operation), argument, 0)


def hostile(pattern: re.Pattern[Any]) -> list[tuple[str, str, str]]:
    """Return texts that make an expression try as much as it may: start, what is repeated, end."""
    parser: Any = importlib.import_module("re._parser")
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    found = dict.fromkeys(pumps(tree))
    whole = sample(tree)
    units = list(dict.fromkeys(unit for _, unit in found))
    texts = [(before, unit, end) for before, unit in found for end in ("", "\0", "!")]
    texts += [("", before + unit, end) for before, unit in found for end in ("", "\0")]
    texts += [(before, one + two, "\0") for before, _ in found for one, two in pairwise(units)]
    texts += [(before, blank, "\0") for before, _ in found for blank in " \n"]
    texts += [("", whole, "\0"), ("", whole[:-1], "\0"), (whole, " ", "\0"), ("", "\n", "\0")]
    return [text for text in dict.fromkeys(texts) if text[1]]


# How long it takes --------------------------------------------------------------------------------


def slow_text(pattern: re.Pattern[Any], method: str) -> str | None:
    """Return a text for which the time grows faster than its length, or None."""
    for before, unit, end in hostile(pattern):
        repeats = (*REPEATS, *(length // len(unit) for length in LENGTHS))
        texts = (before + unit * times + end for times in repeats)
        if found := growth((len(text), partial(applied, pattern, method, text)) for text in texts):
            return f"{found}: {before!r} {unit!r} {end!r}"
    return None


def applied(pattern: re.Pattern[Any], method: str, text: str) -> None:
    is_bytes = isinstance(pattern.pattern, bytes)
    subject: Any = text.encode("latin-1", "replace") if is_bytes else text
    if method in {"sub", "subn"}:
        pattern.sub(b"" if isinstance(subject, bytes) else "", subject)
    elif method in {"finditer", "findall"}:
        pattern.findall(subject)
    else:
        getattr(pattern, method)(subject)


# What must hold -----------------------------------------------------------------------------------


ALL = sorted(set(uses()), key=lambda use: (use.where, str(use.pattern), use.method))


def test_every_expression_is_found() -> None:
    """Each that is compiled or applied is a global, a literal, or one of those made later."""
    later: dict[str, int] = {}
    for path, tree in sources():
        globals_ = {
            id(call)
            for node in tree.body
            if not isinstance(node, FUNCTIONS)
            for call in ast.walk(node)
        }
        for owner, method, call in calls(tree):
            if not is_re(owner) or method not in METHODS | {"compile", "split"}:
                continue
            is_literal = method in METHODS and isinstance(call.args[0], ast.Constant)
            if not is_literal and id(call) not in globals_:
                later[path] = later.get(path, 0) + 1
    assert later == MADE_LATER
    assert len({use.pattern for use in ALL}) > 50


@pytest.mark.parametrize(
    "use", ALL, ids=lambda use: f"{use.where} {use.method} {use.pattern.pattern!r:.30}"
)
def test_time_grows_with_the_text_alone(use: Use) -> None:
    """Texts made of an expression's own parts take time in proportion to their length."""
    assert slow_text(use.pattern, use.method) is None


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"^(a+)+$", "match"),
        (r"(?:<!--[\s\S]*?-->\s*)*<svg", "match"),
        (r"<title[^>]*>(.*?)</title", "search"),
        (r"P[1-7]\s+(#.*\s+)*[0-9W]", "match"),
    ],
)
def test_what_the_measure_finds(pattern: str, method: str) -> None:
    """Expressions that once was here, and the textbook's, are found to grow faster."""
    assert slow_text(re.compile(pattern, re.DOTALL), method) is not None
