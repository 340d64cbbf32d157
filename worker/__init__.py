"""The Celery app and its steps for a job: load, check, encode, admit, ask, finish."""
