"""Periodic tasks that one process runs for the whole fleet."""

from worker.threads.maintenance.scheduler import MaintenanceThread

__all__ = ["MaintenanceThread"]
