"""Requests of both of OpenAI's APIs, parsed as the one question of a job.

One parser for HTTP, files of batches, and batch files of `visionq run`. It refuses unknown fields
by name.
"""
