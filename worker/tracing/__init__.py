"""Spans of what a worker does with a job: names and numbers, and nothing of its content."""

from worker.tracing.choosing import make_tracing
from worker.tracing.spans import Kind, Note, NoTracing, Tracing

__all__ = ["Kind", "NoTracing", "Note", "Tracing", "make_tracing"]
