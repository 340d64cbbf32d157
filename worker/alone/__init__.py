"""A picture that may have killed workers, prepared in a process of its own."""

from worker.alone.process import Alone
from worker.alone.task import Prepared, Task

__all__ = ["Alone", "Prepared", "Task"]
