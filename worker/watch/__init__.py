"""What some process of the fleet has to look after: a closed gate, and whom to tell."""

from worker.watch.watch import Watch

__all__ = ["Watch"]
