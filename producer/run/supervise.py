"""The process that watches over a detached run, and begins it again where it has crashed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from producer.run.detached import read_run, watched
from visionq.bundled import python_command
from visionq.cli.shared import EXIT_INTERRUPTED, EXIT_UNREACHABLE
from visionq.devstack.process import STEADY, restart_pause
from visionq.devstack.signals import Signals

if TYPE_CHECKING:
    from producer.run.detached import DetachedRun

_COMMAND: Final = python_command("visionq.cli")
#: Short lives in a row after which a run will not come to life any more.
_HOPELESS: Final = 8
#: Seconds between tries while Redis or the provider is out of reach.
_REACH_PAUSE: Final = 30.0


def main(directory: Path) -> int:
    """Run until the run has ended; returns its exit code."""
    with watched(directory), Signals() as signals:
        run = replace(read_run(directory), pid=os.getpid())
        run.save()
        code = _watch(run, signals)
        read_run(directory).ended(code).save()
    return code


def _watch(run: DetachedRun, signals: Signals) -> int:
    quick_deaths = 0
    while True:
        began = time.monotonic()
        code = _live(run, signals)
        if code >= 0 and code != EXIT_UNREACHABLE:
            return code
        if signals.stops:
            return EXIT_INTERRUPTED
        quick_deaths = quick_deaths + 1 if time.monotonic() - began < STEADY else 1
        if code < 0 and quick_deaths >= _HOPELESS:
            return 1
        pause = _REACH_PAUSE if code == EXIT_UNREACHABLE else restart_pause(quick_deaths)
        print(f"the run ended with {code}; it goes on in {pause:.0f} s", flush=True)  # noqa: T201  # into its log
        signals.wait(pause)
        if signals.stops:
            return EXIT_INTERRUPTED
        run = replace(run, restarts=run.restarts + 1)
        run.save()


def _live(run: DetachedRun, signals: Signals) -> int:
    """Run it once; a request to stop is passed on."""
    passed_on = 0
    with subprocess.Popen((*_COMMAND, *run.arguments), stdin=subprocess.DEVNULL) as process:  # noqa: S603  # our own command
        while process.poll() is None:
            signals.wait(1.0)
            while passed_on < signals.stops:
                passed_on += 1
                process.terminate()
        return process.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
