"""The same work on the queues that one might take instead of visionq, and on no queue at all."""
