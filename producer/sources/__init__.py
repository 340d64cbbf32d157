"""Where bulk work comes from: folders, globs, manifests, lists of addresses, batch files."""

from producer.sources.opening import STDIN, open_source
from producer.sources.pictures import take_row_pictures
from producer.sources.row import BadRow, Row
from producer.sources.source import KINDS, Source, SourceOptions

__all__ = [
    "KINDS",
    "STDIN",
    "BadRow",
    "Row",
    "Source",
    "SourceOptions",
    "open_source",
    "take_row_pictures",
]
