"""Processes of a contender: started, paused, measured and ended as a tree."""

from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


#: Seconds in which they may end by themselves. What they have done was measured by then.
_PATIENCE = 4.0


@dataclass
class Workers:
    """The workers of one contender."""

    roots: list[subprocess.Popen[str]] = field(default_factory=list)

    def all(self) -> list[psutil.Process]:
        """Return every process that lives now."""
        found = []
        for root in self.roots:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(root.pid)
                found += [process, *process.children(recursive=True)]
        return found

    def pause(self) -> None:
        """Stop them where they are: what they would do is done later."""
        for process in self.all():
            process.suspend()

    def go_on(self) -> None:
        """Let them run again."""
        for process in self.all():
            process.resume()

    def processor_seconds(self) -> float:
        """Return what they have used, with their children that ended."""
        total = 0.0
        for process in self.all():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def proportional_bytes(self) -> int:
        """Return their memory; what they share counts once."""
        total = 0
        for process in self.all():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total

    def check(self) -> None:
        """Raise `RuntimeError` if one of them has ended."""
        for root in self.roots:
            if root.poll() is not None:
                raise RuntimeError(f"{root.args!r} ended with {root.returncode}")

    def end(self) -> None:
        """End the trees, children first where they do not go by themselves."""
        family = self.all()
        for root in self.roots:
            with suppress(ProcessLookupError):
                root.send_signal(signal.SIGCONT)
                root.terminate()
        _, alive = psutil.wait_procs(family, timeout=_PATIENCE)
        # A pool may have started others in the place of those that ended.
        for process in [*self.all(), *alive]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for root in self.roots:
            root.wait()


@contextmanager
def started(
    commands: tuple[tuple[str, ...], ...],
    environment: Mapping[str, str],
    log: Path,
    **options: Any,  # noqa: ANN401  # what `Popen` takes
) -> Iterator[Workers]:
    """Run the commands while the block lasts; what they say goes to the log."""
    workers = Workers()
    with log.open("w", encoding="utf-8") as target:
        try:
            for command in commands:
                workers.roots.append(
                    subprocess.Popen(  # noqa: S603  # our own list
                        command, env=dict(environment), stderr=target, text=True, **options
                    )
                )
            yield workers
        finally:
            workers.end()
