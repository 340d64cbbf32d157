from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.checkout import ROOT, lay_checkout, make, program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return lay_checkout(tmp_path)


@pytest.fixture
def with_uv(checkout: Path) -> Path:
    """Return a checkout whose `uv` notes what it is asked for, and makes an empty .venv."""
    program(checkout, "python3", f'exec {sys.executable} "$@"')
    make_venv = f"mkdir -p .venv/bin; ln -s {sys.executable} .venv/bin/python"
    program(checkout, "uv", f'echo "$*" >>asked; if [ "$1" = venv ]; then {make_venv}; fi')
    return checkout


def asked(folder: Path) -> list[str]:
    """Return what `uv` was asked for since the last time."""
    path = folder / "asked"
    text = path.read_text("utf-8") if path.exists() else ""
    path.unlink(missing_ok=True)
    return text.splitlines()


def test_no_python_is_one_clear_line(checkout: Path) -> None:
    """Without a Python that fits, one line says so, and nothing is made."""
    program(checkout, "python3", "exit 127")
    result = make(checkout, "install")
    assert result.returncode
    assert "no Python 3.11 or newer on PATH" in result.stderr.splitlines()[0]
    assert not (checkout / ".venv").exists()


def test_wrong_python_is_named(checkout: Path) -> None:
    """A PYTHON that does not fit is refused by name."""
    result = make(checkout, "install", "PYTHON=/no/such/python")
    assert result.returncode
    assert result.stderr.startswith("make install: PYTHON=/no/such/python is no Python 3.11")


def test_python_without_venv_gets_a_hint(checkout: Path) -> None:
    """A Python that can't make environments, as Debian ships it, brings the package's name."""
    blind = f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    program(checkout, "python3", blind)
    result = make(checkout, "install")
    assert result.returncode
    assert "apt-get install python3." in result.stderr


def test_install_takes_the_lock_and_nothing_else(with_uv: Path) -> None:
    """The lock's wheels are installed by hash, then the checkout; a second time nothing is."""
    first = make(with_uv, "install")
    assert first.returncode == 0, first.stderr
    _, lock, project, check = asked(with_uv)
    assert lock.endswith(" --no-deps --require-hashes --only-binary :all: -r requirements-run.lock")
    assert project.endswith(" --no-deps --no-index --no-build-isolation --editable .")
    assert check.startswith("pip check ")

    second = make(with_uv, "install")
    assert (second.returncode, second.stdout) == (0, "")
    assert asked(with_uv) == []


def test_tools_are_added_when_they_are_needed(with_uv: Path) -> None:
    """The tools of developers are added to the same environment, once."""
    assert make(with_uv, "install").returncode == 0
    asked(with_uv)
    assert make(with_uv, "dev").returncode == 0
    lock, check = asked(with_uv)
    assert lock.endswith(" -r requirements.lock")
    assert check.startswith("pip check ")
    assert make(with_uv, "install", "dev").stdout == ""
    assert asked(with_uv) == []


@pytest.mark.parametrize("target", ["test", "lint", "format", "bench", "chaos"])
def test_what_needs_tools_adds_them(checkout: Path, target: str) -> None:
    """A target that needs more than running does installs it first."""
    first, second, *_ = make(checkout, "--dry-run", target).stdout.splitlines()
    assert (first, second) == ("sh scripts/install.sh run", "sh scripts/install.sh dev")


@pytest.mark.parametrize("target", ["install", "demo"])
def test_running_needs_no_tools(checkout: Path, target: str) -> None:
    """To run it you install what running needs, and nothing more."""
    planned = make(checkout, "--dry-run", target).stdout.splitlines()
    assert [line for line in planned if "install.sh" in line] == ["sh scripts/install.sh run"]


@pytest.mark.parametrize("name", ["requirements-run.lock", "pyproject.toml"])
def test_install_notices_a_change(with_uv: Path, name: str) -> None:
    """A changed lock, or project, is installed again into the same environment."""
    assert make(with_uv, "install").returncode == 0
    asked(with_uv)
    with (with_uv / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert make(with_uv, "install").returncode == 0
    assert [line.split()[:2] for line in asked(with_uv)] == [
        ["pip", "install"],
        ["pip", "install"],
        ["pip", "check"],
    ]


def test_interrupted_install_is_repeated(with_uv: Path) -> None:
    """An installation that failed is not taken for done, nor what was added to it."""
    assert make(with_uv, "dev").returncode == 0
    (with_uv / "requirements-run.lock").write_text("", "utf-8")
    working = (with_uv / "bin/uv").read_text("utf-8")
    program(with_uv, "uv", "exit 1")
    assert make(with_uv, "install").returncode
    program(with_uv, "uv", working.partition("\n")[2])
    asked(with_uv)
    assert make(with_uv, "dev").returncode == 0
    assert len(asked(with_uv)) == 3 + 2


def test_pip_can_be_asked_for(with_uv: Path) -> None:
    """With uv installed you may still have pip install, with its own settings."""
    program(with_uv, "python3", f'[ "$2" != venv ] || exit 1; exec {sys.executable} "$@"')
    assert make(with_uv, "install", "INSTALLER=pip").returncode
    assert asked(with_uv) == []


def test_another_installer_is_refused(with_uv: Path) -> None:
    """A name that is not known is not taken for another."""
    result = make(with_uv, "install", "INSTALLER=conda")
    assert result.returncode
    assert result.stderr.startswith("make install: INSTALLER=conda is unknown")
    assert asked(with_uv) == []


def test_help_lists_every_target(checkout: Path) -> None:
    """`make` alone prints each target with a line about it."""
    listed = make(checkout).stdout.splitlines()
    targets = {line.split()[0] for line in listed}
    assert {"install", "demo", "test", "lint", "bench", "chaos", "help"} <= targets
    assert all(len(line.split()) > 1 for line in listed)


def test_ci_script_is_executable() -> None:
    """`.ci/run` can be started as it is."""
    assert os.access(ROOT / ".ci/run", os.X_OK)
