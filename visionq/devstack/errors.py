"""How a stack can fail to start."""

from __future__ import annotations

from visionq.errors import QueueUnavailable


class StartFailed(QueueUnavailable):
    """A part of the stack did not start, or was not ready in time."""

    code = "start_failed"
