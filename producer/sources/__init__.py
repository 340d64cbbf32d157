"""Where bulk work comes from: folders, globs, manifests, lists of addresses, batch files."""

from producer.sources.opening import STDIN, open_source
from producer.sources.pictures import take_row_pictures
from producer.sources.row import ROW_FAULTS, BadRow, Row, row_fault
from producer.sources.source import KINDS, Source, SourceOptions, said_of_reading

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
