"""The same work on the alternatives to visionq: other queues, and no queue at all."""
