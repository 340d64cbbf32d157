"""Bulk runs: every row of a source asked once, every answer in a file that outlives all else."""
