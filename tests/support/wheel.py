"""The wheel in an environment that holds what one of its extras brings, and no more.

Nothing is downloaded: what it depends on is linked from the environment that the tests run in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement

from visionq.devstack.redis_server import find_redis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT: Final = Path(__file__).parents[2]
#: Names that other people give to their files; each of these ends its importer.
TRAPS: Final = (
    *("celery", "click", "json", "monitoring", "openai", "producer", "redis", "requests"),
    *("tornado", "typing", "visionq", "worker"),
)


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and a home of its own."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin/python"

    @property
    def site_packages(self) -> Path:
        return next((self.folder / "lib").glob("python3*/site-packages"))

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables that a newcomer has set."""
        path = f"{self.folder / 'bin'}:{find_redis().parent}:{os.defpath}"
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}

    def run(
        self, *command: str, cwd: Path | str = "/", timeout: float = 100, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment to its end."""
        return subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            cwd=cwd,
            env=self.variables | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )


def build(target: str, source: Path, folder: Path) -> Path:
    """Build `wheel` or `sdist` from a source tree, as `make dist` does; return the file."""
    subprocess.run(
        [sys.executable, "-P", "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[target])
    return built


def install(wheel: Path, folder: Path, extras: Sequence[str] = ()) -> Installed:
    """Make an environment, install the wheel into it, and link what it and its extras need."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    installed = Installed(folder)
    options = ("install", "--quiet", "--no-deps", "--no-index", str(wheel))
    if uv := shutil.which("uv"):
        command = [uv, "pip", *options, "--python", str(installed.python)]
    else:
        command = [sys.executable, "-m", "pip", "--python", str(installed.python), *options]
    subprocess.run(command, check=True, capture_output=True)
    (ours,) = distributions(path=[str(installed.site_packages)])
    for found in needed(ours.requires or (), extras, set()):
        _link(found, installed.site_packages)
    return installed


def needed(
    requirements: Iterable[str], extras: Iterable[str], seen: set[str]
) -> Iterable[Distribution]:
    """Return what is required, and what that requires in turn."""
    environments = [{"extra": extra} for extra in ("", *extras)]
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        wanted = marker is None or any(map(marker.evaluate, environments))
        key = f"{requirement.name}{sorted(requirement.extras)}"
        if not wanted or key in seen:
            continue
        seen.add(key)
        found = distribution(requirement.name)
        yield found
        yield from needed(found.requires or (), requirement.extras, seen)


def _link(found: Distribution, site_packages: Path) -> None:
    for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        here = site_packages / name
        if not here.is_symlink():
            here.symlink_to(Path(str(found.locate_file(name))))


def set_traps(folder: Path) -> Path:
    """Put other people's modules and packages of well-known names into a folder."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(TRAPS):
        trap = folder / (f"{name}.py" if number % 2 else f"{name}/__init__.py")
        trap.parent.mkdir(exist_ok=True)
        trap.write_text("raise SystemExit('imported what is not ours: ' + __file__)\n", "utf-8")
    return folder
