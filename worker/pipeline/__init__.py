"""The way of a job in the worker: load, recall, check, encode, admit, ask."""

from worker.pipeline.context import Attempt, Picture, Tools
from worker.pipeline.errors import FencedError, GivenBackError
from worker.pipeline.run import run_attempt

__all__ = ["Attempt", "FencedError", "GivenBackError", "Picture", "Tools", "run_attempt"]
