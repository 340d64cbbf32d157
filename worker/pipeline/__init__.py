"""The steps of a job in the worker: load, look up, check, encode, admit, ask."""

from worker.pipeline.context import Attempt, Dependencies, FencedError, GivenBackError, JobPicture
from worker.pipeline.run import run_attempt

__all__ = ["Attempt", "Dependencies", "FencedError", "GivenBackError", "JobPicture", "run_attempt"]
