"""The client that other services use."""
