"""`visionq ask` where no stack is running: it starts one, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
from PIL import Image

from visionq.cli.record import read_record

if TYPE_CHECKING:
    from pathlib import Path


def test_temporary_stack(tmp_path: Path) -> None:
    """The simulator answers from the picture; no other command finds the stack, which ends."""
    photo = tmp_path / "фото.png"
    Image.new("RGB", (320, 200), (200, 30, 30)).save(photo)
    mark = {"VISIONQ_TEST_MARK": str(tmp_path)}
    environment = {**os.environ, **mark, "XDG_STATE_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "visionq.cli", "ask", str(photo), "-p", "Что это?", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None:
            assert read_record(environment) is None
            time.sleep(0.1)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.read() == "no stack is running: starting a temporary one …\n"
        result = json.loads(process.stdout.read())
    assert process.returncode == 0
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
