"""Celery: the app, its tasks, and what we changed in its consumer and transport."""
