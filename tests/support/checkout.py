"""A checkout that holds what installing needs, on a machine that has hardly more than Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What installing reads.
NEEDED = (
    *("Makefile", "pyproject.toml", "scripts/install.sh"),
    *("requirements-run.lock", "requirements.lock"),
)
#: What a machine has beside Python.
TOOLS = (
    *("sh", "cat", "cut", "cksum", "dirname", "rm", "mkdir", "ln"),
    *("awk", "sed", "grep", "tail", "xargs", "make"),
)


def lay_checkout(folder: Path) -> Path:
    """Lay out what installing needs, and in `bin` the tools of a bare machine."""
    for name in NEEDED:
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, target)
    (folder / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"{tool} is not installed"
        (folder / "bin" / tool).symlink_to(found)
    return folder


def program(folder: Path, name: str, body: str) -> None:
    """Put a program into the machine's `bin`."""
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    path.chmod(0o755)


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `make` on this machine."""
    environment = {"PATH": str(folder / "bin"), "HOME": str(folder), **variables}
    return subprocess.run(  # our own Makefile
        [folder / "bin/make", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
