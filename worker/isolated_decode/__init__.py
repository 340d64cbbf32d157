"""What may have killed workers, a picture or a job's texts, prepared in a process of its own."""

from worker.isolated_decode.process import IsolatedDecoder
from worker.isolated_decode.task import DryRun, Prepared, Task

__all__ = ["DryRun", "IsolatedDecoder", "Prepared", "Task"]
