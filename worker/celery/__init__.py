"""Celery: the app, its tasks, and our changes to its consumer and transport."""
