"""Process trees of a contender: start, pause, measure and stop them."""

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


#: Seconds to exit on their own; the measurement is over by then.
_PATIENCE = 4.0


@dataclass
class Workers:
    """The workers of one contender."""

    roots: list[subprocess.Popen[str]] = field(default_factory=list)

    def all(self) -> list[psutil.Process]:
        """Return every live process."""
        found = []
        for root in self.roots:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(root.pid)
                found += [process, *process.children(recursive=True)]
        return found

    def pause(self) -> None:
        """Suspend the processes."""
        for process in self.all():
            process.suspend()

    def go_on(self) -> None:
        """Resume the processes."""
        for process in self.all():
            process.resume()

    def processor_seconds(self) -> float:
        """Return the CPU seconds used, including children that have exited."""
        total = 0.0
        for process in self.all():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def proportional_bytes(self) -> int:
        """Return the PSS in bytes: shared memory counts once."""
        total = 0
        for process in self.all():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total

    def check(self) -> None:
        """Raise `RuntimeError` if a process has exited."""
        for root in self.roots:
            if root.poll() is not None:
                raise RuntimeError(f"{root.args!r} exited with {root.returncode}")

    def end(self) -> None:
        """Stop the trees; kill processes that do not exit on their own, children first."""
        family = self.all()
        for root in self.roots:
            with suppress(ProcessLookupError):
                root.send_signal(signal.SIGCONT)
                root.terminate()
        _, alive = psutil.wait_procs(family, timeout=_PATIENCE)
        # A pool may have replaced the ones that exited.
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
    **options: Any,  # noqa: ANN401  # passed to `Popen`
) -> Iterator[Workers]:
    """Run the commands inside the block; write their output to the log."""
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
