"""The threads that a worker runs beside its pool."""
