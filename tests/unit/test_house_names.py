"""A name means one thing: no two classes share one, nor two modules that hold different things."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
PRODUCT: Final = ("visionq", "producer", "worker", "monitoring")
#: Modules there are named after the command or the subject that they serve.
_BY_SUBJECT: Final = ("visionq/cli/", "benchmarks/")


def test_a_class_name_means_one_thing() -> None:
    """No two modules define a class of the same name, private ones included."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for path in modules(*PRODUCT, "benchmarks", "scripts", packages_too=True):
        for node in ast.parse((ROOT / path).read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(path)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_a_module_name_means_one_thing() -> None:
    """No two modules have the same name, but a command or benchmark may have its subject's."""
    own = [path for path in modules(*PRODUCT) if not path.startswith(_BY_SUBJECT)]
    for paths in (own, modules("visionq/cli"), modules("benchmarks")):
        homes: defaultdict[str, list[str]] = defaultdict(list)
        for path in paths:
            homes[Path(path).name].append(path)
        assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def modules(*packages: str, packages_too: bool = False) -> Iterator[str]:
    """Yield the modules of packages; `__init__` and `__main__` only with `packages_too`."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if packages_too or not path.name.startswith("__"):
                yield path.relative_to(ROOT).as_posix()
