"""A picture that kills its decoder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tests.support.pictures import picture

if TYPE_CHECKING:
    from pathlib import Path

DEADLY: Final = picture(666, size=(66, 66))
#: A judge of pictures, as any distribution may bring one, that does not survive one of them.
_KILLER: Final = """
import os, signal, zlib

class Killer:
    requirement = "logo"
    def find(self, picture):
        if b"IHDR" + (66).to_bytes(4, "big") * 2 in picture:
            os.kill(os.getpid(), signal.SIGKILL)

def make():
    return Killer()
"""
_METADATA: Final = "Metadata-Version: 2.1\nName: killer\nVersion: 1\n"
_POINTS: Final = "[visionq.detectors]\nkiller = killer_of_tests:make\n"


def install_killer(folder: Path) -> dict[str, str]:
    """Put the judge into a folder; returns the environment of workers that ask it."""
    information = folder / "killer-1.dist-info"
    information.mkdir(parents=True)
    (folder / "killer_of_tests.py").write_text(_KILLER)
    (information / "METADATA").write_text(_METADATA)
    (information / "entry_points.txt").write_text(_POINTS)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "VISIONQ_DETECTORS": "killer", "VISIONQ_LEASE": "5"}
