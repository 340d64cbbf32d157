"""visionq: questions about pictures, answered by a vision model; no job is ever lost."""
