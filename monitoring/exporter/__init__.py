"""One process that tells Prometheus how the whole fleet stands, whatever its workers do."""
