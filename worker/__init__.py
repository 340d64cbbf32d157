"""The Celery app and what it does with a job: load, check, encode, admit, ask, finish."""
