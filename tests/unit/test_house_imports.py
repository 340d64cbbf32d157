"""Any module of the worker can be imported first: no circle closes, in any order."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
IMPORTED: Final = re.compile(r"^(?:from|import) (visionq[\w.]*)", re.MULTILINE)


#: Imports once what may not import the worker, and in a fork of its own each module of the worker.
IMPORT_EACH = """
import importlib, json, os, sys
import aiohttp, celery, click, openai, PIL.Image, pydantic
import redis.asyncio, structlog
shared, names = json.load(sys.stdin)
for name in shared:
    importlib.import_module(name)
assert not {name.partition(".")[0] for name in sys.modules} & {"worker", "producer", "monitoring"}
for name in names:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"{name}: {error}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_any_module_can_be_imported_first() -> None:
    """In a fresh process each module imports what it needs, in an order that works."""
    paths = sorted((ROOT / "worker").rglob("[a-z]*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    shared = {name for path in paths for name in IMPORTED.findall(path.read_text("utf-8"))}
    assert names
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH],
        input=json.dumps([sorted(shared), names]),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == ""
