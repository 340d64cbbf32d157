"""Processes under test in which constants of the settings, which no variable sets, are others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Python imports a module of this name whenever it starts.
_MODULE: Final = "sitecustomize.py"
_PATCH: Final = """
from functools import partialmethod

from {module} import {settings}

{settings}.__init__ = partialmethod({settings}.__init__, **{constants!r})
"""


def with_constants(folder: Path, settings: type, **constants: float) -> dict[str, str]:
    """Return the environment of processes in which the settings class has these constants."""
    folder.mkdir(parents=True, exist_ok=True)
    patch = _PATCH.format(
        module=settings.__module__, settings=settings.__name__, constants=constants
    )
    (folder / _MODULE).write_text(patch, "utf-8")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path}
