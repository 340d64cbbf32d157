"""Whether this process moves on: what its threads show of it, and how others learn of it."""

from worker.threads.health.progress import Progress
from worker.threads.health.reporter import Reporter

__all__ = ["Progress", "Reporter"]
