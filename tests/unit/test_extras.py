"""Each extra brings all that its modules import."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import metadata, packages_distributions, requires
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.wheel import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
OURS = {"monitoring", "producer", "visionq", "worker"}
#: Modules → the extra without which nobody imports them; the closest line counts.
EXTRAS = {
    "visionq": (),
    "visionq/devstack": ("sandbox",),
    "visionq/testing.py": ("testing",),
    "producer": (),
    "producer/gateway": ("gateway",),
    "producer/mcp_server": ("mcp",),
    "monitoring": ("monitoring",),
    "worker": ("worker",),
    "worker/tracing/opentelemetry.py": ("worker", "telemetry"),
}


def imported(path: Path) -> Iterator[str]:
    """Name each package that importing the module imports."""
    waiting = list(ast.parse(path.read_text("utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)  # type: ignore[arg-type]  # none but statements matter


@pytest.mark.parametrize("part", EXTRAS)
def test_extras_bring_what_is_imported(part: str) -> None:
    """The imports of a module come with its extra, or with visionq itself."""
    found = needed(requires("visionq") or (), EXTRAS[part], set())
    brought = {canonicalize_name(one.metadata["Name"]) for one in found}
    homes = packages_distributions()
    start = ROOT / part
    deeper = [ROOT / other for other in EXTRAS if other.startswith(f"{part}/")]
    paths = [start] if start.is_file() else start.rglob("*.py")
    absent = {
        name: str(path.relative_to(ROOT))
        for path in paths
        if not any(path.is_relative_to(other) for other in deeper)
        for name in imported(path)
        if name not in sys.stdlib_module_names | OURS
        and not {canonicalize_name(home) for home in homes.get(name, ())} & brought
    }
    assert absent == {}


def test_all_leaves_out_what_developing_needs_and_no_more() -> None:
    """`all` brings every extra but those for developers, for a licence, or for agents."""
    extras = set(metadata("visionq").get_all("Provides-Extra", []))
    wanted = extras - {"all", "bench", "build", "dev", "heic", "mcp", "testing"}
    of_all = {one.name for one in directly("all")}
    assert of_all == {one.name for extra in wanted for one in directly(extra)}


def directly(extra: str) -> list[Requirement]:
    lines = map(Requirement, requires("visionq") or ())
    return [one for one in lines if f'extra == "{extra}"' in str(one.marker)]


def test_every_package_is_looked_at() -> None:
    """No package of visionq is left out of the table, and each of its lines exists."""
    assert EXTRAS.keys() >= OURS
    assert all((ROOT / part).exists() for part in EXTRAS)
    assert set(chain.from_iterable(EXTRAS.values())) >= {"gateway", "monitoring", "sandbox"}
