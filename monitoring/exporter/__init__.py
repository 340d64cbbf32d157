"""Export the state of the whole fleet to Prometheus from one process, workers or none."""
