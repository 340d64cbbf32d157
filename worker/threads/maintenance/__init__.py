"""What some process of the fleet has to look after: a closed gate, and whom to tell."""

from worker.threads.maintenance.scheduler import MaintenanceThread

__all__ = ["MaintenanceThread"]
