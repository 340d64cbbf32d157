"""What may have killed workers, a picture or a job's texts, prepared in a process of its own."""

from worker.alone.process import Alone
from worker.alone.task import Prepared, Rehearsal, Task

__all__ = ["Alone", "Prepared", "Rehearsal", "Task"]
