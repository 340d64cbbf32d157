"""Every error is a class of the one tree, or an exception to that with its reason here."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path
from typing import TYPE_CHECKING, Final

from visionq import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
TREE: Final = ROOT / "visionq/errors.py"
_LIBRARY: Final = "an error of the library that calls it"
_SIMULATOR: Final = "the simulator shares no code with what it tests"
_FLOW: Final = "ends a step of its module, and is always caught there"
#: Class → why it is not in the tree.
EXCEPTIONS: Final = {
    "BodyTooLong": _LIBRARY,
    "UnableToWriteError": _LIBRARY,
    "UnsatisfiableError": _SIMULATOR,
    "UnsupportedDetailError": _SIMULATOR,
    "TooManyPatchesError": _SIMULATOR,
    "SimulatedRefusal": _SIMULATOR,
    "ApiError": "a reply of the gateway: a status and a body, also for faults of HTTP alone",
    "FencedError": _FLOW,
    "GivenBackError": _FLOW,
    "ExhaustedError": _FLOW,
    "LeadershipLostError": _FLOW,
    "Mismatch": "a finding about an answer, which becomes an InvalidOutput or a repair",
    "MalformedError": "a finding about a picture's bytes, which becomes a CorruptImage",
    "UnsupportedVariantError": "likewise, which becomes an UnsupportedFormat",
}


def test_errors_have_one_home() -> None:
    """No public exception outside visionq/errors.py is without a reason, and no reason is idle."""
    assert {name for name, _ in outside()} == set(EXCEPTIONS)


def outside() -> Iterator[tuple[str, Path]]:
    """Yield each public exception that is defined outside the tree, with its module."""
    classes = [
        (node, path)
        for package in ("visionq", "producer", "worker", "monitoring")
        for path in (ROOT / package).rglob("*.py")
        if path != TREE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    known = {
        name
        for home in (builtins, errors)
        for name, value in vars(home).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    found: dict[str, Path] = {}
    while new := {
        node.name: path
        for node, path in classes
        if node.name not in found and any(_is_error(base, known) for base in node.bases)
    }:
        found |= new
        known |= new.keys()
    yield from ((name, path) for name, path in found.items() if not name.startswith("_"))


def _is_error(base: ast.expr, known: set[str]) -> bool:
    name = ast.unparse(base).rpartition(".")[2]
    return name in known or name.endswith(("Error", "Exception"))
