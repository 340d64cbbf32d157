"""Our packages are found before anybody else's of the same name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from visionq import installation

ROOT = Path(__file__).parents[2]


COMMANDS = ("monitoring.flower.flower_command", "producer.ask_command", "worker.worker_command")


def test_others_are_not_imported(tmp_path: Path) -> None:
    """A package of someone else that is first on the path is not taken for ours."""
    ours = [command.partition(".")[0] for command in COMMANDS]
    for name in ours:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')", "utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"from visionq import installation; installation.install_finder()\n"
        f"import {', '.join(COMMANDS)}; print({', '.join(f'{name}.__file__' for name in ours)})"
    )
    said = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False
    )
    wanted = [str(ROOT / name / "__init__.py") for name in ours]
    assert said.stdout.split() == wanted, said.stderr


def test_modules_are_run_as_programs(tmp_path: Path) -> None:
    """A module of visionq runs as a program although its name is taken where one works."""
    (tmp_path / "worker.py").write_text("raise SystemExit('not ours')", "utf-8")
    ended = subprocess.run(
        [*installation.python_command("worker.isolated_decode"), "10"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_other_names_are_left_alone() -> None:
    """The finder answers for our packages alone."""
    finder = installation.BundledFinder(ROOT)
    assert finder.find_spec("visionq", None) is None
    assert finder.find_spec("worker.celery.tasks", [str(ROOT / "worker")]) is None
