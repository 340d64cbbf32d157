"""Where bulk work comes from: folders, globs, manifests, lists of addresses, batch files."""

from producer.sources.row import BadRow, Row

__all__ = ["BadRow", "Row"]
