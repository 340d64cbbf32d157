"""What is installed here."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from visionq.cli.doctor.findings import Finding, ok

_PACKAGES: Final = ("visionq", "celery", "kombu", "redis", "openai", "pillow")


def versions_finding() -> Finding:
    """Return the versions of Python and the packages that matter; clients have fewer of them."""
    found = {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}
    installed = [f"{name} {number}" for name, number in found.items() if number]
    absent = [name for name, number in found.items() if number is None]
    message = ", ".join(installed)
    if absent:
        message += f"; not installed here: {', '.join(absent)}"
    return ok("versions", message, **found)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
