"""The steps of a job in the worker: load, look up, check, encode, admit, ask."""

from worker.pipeline.context import (
    Attempt,
    BatchFiller,
    Dependencies,
    FencedError,
    GivenBackError,
    JobPicture,
)
from worker.pipeline.run import run_attempt, settle_line

__all__ = [
    "Attempt",
    "BatchFiller",
    "Dependencies",
    "FencedError",
    "GivenBackError",
    "JobPicture",
    "run_attempt",
    "settle_line",
]
