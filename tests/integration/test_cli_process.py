"""The command line as a process: quick to load, quiet when its reader goes away."""

from __future__ import annotations

import subprocess
import sys

HELP = """
import sys
from visionq.cli import run
assert run(["--help"]) == 0
slow = {"PIL", "aiohttp", "celery", "flower", "openai"} & set(sys.modules)
assert not slow, slow
"""

MUCH = """
import sys
from types import SimpleNamespace
import click
from visionq import cli
command = click.Command("much", callback=lambda: click.echo("x" * 1_000_000))
cli.cli.__dict__["found"] = {"much": SimpleNamespace(load=lambda: command)}
sys.argv[1:] = ["much"]
cli.main()
"""


def test_help_is_light() -> None:
    """Help lists every command of a full install and imports none of the slow packages."""
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("ask", "flower", "jobs", "simulator", "up", "worker"):
        assert f"\n  {command} " in done.stdout


def test_reader_goes_away() -> None:
    """`visionq … | head` ends without a traceback."""
    with subprocess.Popen(
        [sys.executable, "-c", MUCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=20) == 1
        assert process.stderr.read() == b""
