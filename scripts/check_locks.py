"""Checks that every requirement of the locks has a wheel, wherever visionq can be installed.

`make lock` runs it, for it asks the package index. What it found is written down together with the
locks' hashes, so that a test can tell without an index whether these locks were checked.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).parents[1]
RECORD: Final = ROOT / "scripts/checked_locks.json"
LOCKS: Final = (
    "requirements-run.lock",
    "requirements.lock",
    "benchmarks/peers/requirements.lock",
)
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
#: As uv names them.
PLATFORMS: Final = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")


def record() -> dict[str, object]:
    """Return what is written down when all locks pass."""
    hashes = {lock: hashlib.sha256((ROOT / lock).read_bytes()).hexdigest() for lock in LOCKS}
    return {"pythons": PYTHONS, "platforms": PLATFORMS, "locks": hashes}


def fault(lock: str, python: str, platform: str) -> str:
    """Return what uv says against installing this lock there, from wheels alone; empty: nothing."""
    with TemporaryDirectory() as nowhere:
        command = (
            *("uv", "pip", "install", "--quiet", "--dry-run", "--target", nowhere),
            *("--python-version", python, "--python-platform", platform),
            *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", lock),
        )
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # composed here
    return done.stderr if done.returncode else ""


def main() -> int:
    """Check every lock for every Python on every platform; returns the exit code."""
    passed = True
    for lock, python, platform in product(LOCKS, PYTHONS, PLATFORMS):
        if said := fault(lock, python, platform):
            passed = False
            print(f"{lock}: Python {python} on {platform}: {said}", file=sys.stderr)  # noqa: T201
    if passed:
        RECORD.write_text(f"{json.dumps(record(), indent=2)}\n", encoding="utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
