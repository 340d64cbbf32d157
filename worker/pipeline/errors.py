"""What only the pipeline knows to go wrong."""

from __future__ import annotations


class FencedError(Exception):
    """The job is not this attempt's any more: nothing is to be called or written for it."""
