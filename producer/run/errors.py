"""What can be wrong with the file that a run writes."""

from __future__ import annotations

from visionq.errors import VisionqError
from visionq.settings import ConfigurationError


class RecordRefused(ConfigurationError):
    """The file can't be the record of this run: of another question, in use, not to be written."""


class RecordFailed(VisionqError):
    """The file could not be written while the run was on; what stands in it is whole."""

    code = "record_failed"
