"""Bulk runs: every row of a source asked once, every answer in one file that outlives everything."""
