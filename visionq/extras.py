"""The extras of the installation: what is there of them, and how to add one."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import TYPE_CHECKING, Final

from visionq.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
