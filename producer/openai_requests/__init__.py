"""Requests to OpenAI's API, of either surface, read as the one question that a job is.

One reader for all of them, wherever they come from: over HTTP, in the files of batches, and in the
batch files of `visionq run`. What it does not know it refuses by name.
"""
