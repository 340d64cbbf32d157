"""Bulk runs: ask about every row of a source once, and keep every answer in a file."""
