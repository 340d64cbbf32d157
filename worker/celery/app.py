"""The workers' Celery app: `worker.celery.app:app`. It reads the environment at its first use."""

from __future__ import annotations

from celery import Celery

from visionq.settings import load_settings
from worker.celery import lifecycle, transport
from worker.celery.config import celery_config

app = Celery("visionq")
app.add_defaults(lambda: celery_config(load_settings()))
app.steps["consumer"].update(
    {"worker.celery.consumer:SignsOfLife", "worker.celery.consumer:GatheredEvents"}
)
lifecycle.connect()
transport.register()
