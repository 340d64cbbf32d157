"""Finds `producer`, `worker` and `monitoring`, whatever else is installed and wherever one works.

In a checkout they stand beside `visionq`. The wheel has them inside `visionq`, so that it brings
no other name into anybody's site-packages.

`python -P -m visionq.bundled MODULE [ARGUMENT]…` runs a module of theirs.
"""

from __future__ import annotations

import runpy
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

PACKAGES: Final = frozenset({"monitoring", "producer", "worker"})


class BundledFinder:
    """Answers for our three packages alone, before `sys.path` is looked at."""

    def __init__(self, folder: Path) -> None:
        self._path = [str(folder)]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find one of the packages; their modules are then found through it."""
        del path
        return PathFinder.find_spec(fullname, self._path, target) if fullname in PACKAGES else None


def install() -> None:
    """Have this process import our packages, never another's of the same name."""
    inside = Path(__file__).with_name("_bundled")
    folder = inside if inside.is_dir() else Path(__file__).parents[1]
    sys.meta_path.insert(0, BundledFinder(folder))


def python_command(module: str) -> tuple[str, ...]:
    """Return the beginning of a command that runs one of our modules.

    -P: what lies in the working directory is not ours.
    """
    runner = ("visionq.bundled",) if module.partition(".")[0] in PACKAGES else ()
    return (sys.executable, "-P", "-m", *runner, module)


def main() -> None:
    """Run the module that the command line names."""
    install()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
