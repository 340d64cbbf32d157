"""`visionq ask` where no stack is running: it starts one, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


def test_temporary_stack(tmp_path: Path) -> None:
    """The simulator answers from the picture, the stack is announced, and ends with the answer."""
    photo = tmp_path / "фото.png"
    Image.new("RGB", (320, 200), (200, 30, 30)).save(photo)
    mark = {"VISIONQ_TEST_MARK": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "visionq.cli", "ask", str(photo), "-p", "Что это?", "--json"],
        env={**os.environ, **mark, "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "no stack is running: starting a temporary one …\n"
    result = json.loads(done.stdout)
    assert "320x200" in result["text"]
    assert result["images"][0]["name"] == str(photo)
    assert marked(mark) == []
    assert list(tmp_path.iterdir()) == [photo]


def marked(mark: dict[str, str]) -> list[psutil.Process]:
    """Return the processes that have inherited the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if mark.items() <= environment.items():
            found.append(process)
    return found
