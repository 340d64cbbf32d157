"""The allocator's settings, in a process of their own: they can't be taken back."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import io, json, resource
from pathlib import Path
from PIL import Image
from worker.malloc import MemoryTrim, tune_malloc

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

def make():  # as much memory as decoding 6 MP and scaling them takes
    Image.new("RGB", (3000, 2000)).resize((1920, 1280)).save(io.BytesIO(), "JPEG")

tune_malloc()
make()
MemoryTrim().run()
idle = resident()
make()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    make()
faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5
busy = resident()
MemoryTrim().run()
left = resident() - idle
large = Image.new("RGB", (4000, 3000), "white")
held = resident() - idle
del large
gone = resident() - idle
print(json.dumps({"faults": faults, "kept": busy - idle, "left": left, "held": held, "gone": gone}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_pictures_reuse_memory_and_give_it_back() -> None:
    """Pictures take no new pages, the trim leaves none of them behind, nor does a large one."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["faults"] < 500, found  # of 12,000
    assert found["kept"] > 20, found  # megabytes, or the next line shows nothing
    assert found["left"] < 5, found
    assert found["held"] > 45, found
    assert found["gone"] < 5, found  # without a trim
