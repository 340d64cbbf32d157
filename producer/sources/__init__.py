"""The sources of bulk work: folders, globs, manifests, lists of addresses, batch files."""

from producer.sources.bucket import take_row_pictures
from producer.sources.opening import STDIN, open_source
from producer.sources.source import (
    KINDS,
    ROW_FAULTS,
    BadRow,
    Row,
    Source,
    SourceOptions,
    row_fault,
    said_of_reading,
)

__all__ = [
    "KINDS",
    "ROW_FAULTS",
    "STDIN",
    "BadRow",
    "Row",
    "Source",
    "SourceOptions",
    "open_source",
    "row_fault",
    "said_of_reading",
    "take_row_pictures",
]
