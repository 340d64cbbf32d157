"""The installed packages and extras of visionq.

Finds `producer`, `worker` and `monitoring` before other packages of these names.

In a checkout they are beside `visionq`. The wheel has them inside `visionq`, so that it brings
no other name into anybody's site-packages.

`python -P -m visionq.installation MODULE [ARGUMENT]…` runs one of their modules.
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import TYPE_CHECKING, Final

from visionq.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

PACKAGES: Final = frozenset({"monitoring", "producer", "worker"})
#: Brings all others that running needs.
ALL: Final = "all"
#: What the processes of `visionq up` need.
STACK: Final = ("gateway", "monitoring", "sandbox", "worker")
#: Command → the extras that it can't do without. Commands that are not here need none.
NEEDED: Final = {
    "demo": STACK,
    "exporter": ("monitoring",),
    "flower": ("monitoring",),
    "gateway": ("gateway",),
    "simulator": ("sandbox",),
    "up": STACK,
    "worker": ("worker",),
}
#: A requirement of one extra. One with a further condition is not wanted on every machine.
_REQUIREMENT: Final = re.compile(r"""([\w.-]++)[^;]*+; extra == ['"]([\w-]+)['"]""")
_NAMED: Final = 3


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


def install_finder() -> None:
    """Make this process import our packages, never another's of the same name."""
    inside = Path(__file__).with_name("_bundled")
    folder = inside if inside.is_dir() else Path(__file__).parents[1]
    sys.meta_path.insert(0, BundledFinder(folder))


def python_command(module: str) -> tuple[str, ...]:
    """Return the beginning of a command that runs one of our modules.

    -P: what lies in the working directory is not ours.
    """
    runner = ("visionq.installation",) if module.partition(".")[0] in PACKAGES else ()
    return (sys.executable, "-P", "-m", *runner, module)


def as_one(extras: Sequence[str]) -> str:
    """Return the extra that brings all of these."""
    return extras[0] if len(extras) == 1 else ALL


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this installation."""
    prefix = Path(sys.prefix)
    installer = "pip install"
    if (prefix / "pipx_metadata.json").exists():
        installer = "pipx runpip visionq install"
    elif (prefix / "uv-receipt.toml").exists():
        installer = f"uv pip install --python {shlex.quote(sys.prefix)}"
    return f"{installer} 'visionq[{extra}]'"


def absent_packages(extras: Sequence[str]) -> list[str]:
    """Return the packages of these extras that are not installed."""
    found = (_REQUIREMENT.fullmatch(line) for line in requires("visionq") or ())
    wanted = {match[1] for match in found if match and match[2] in extras}
    return sorted(name for name in wanted if not _is_installed(name))


def check_extras(what: str, extras: Sequence[str]) -> None:
    """Refuse what needs extras that are not installed.

    Raises:
        ConfigurationError: the message says how to install them; it begins with `what`.
    """
    absent = absent_packages(extras)
    if not absent:
        return
    names = ", ".join(absent[:_NAMED])
    more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
    verb = "is" if len(absent) == 1 else "are"
    command = install_command(as_one(extras))
    raise ConfigurationError(f"{what} needs {names}{more}, which {verb} not installed: {command}")


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def main() -> None:
    """Run the module that the command line names."""
    install_finder()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
