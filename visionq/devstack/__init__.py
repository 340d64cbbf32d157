"""Run everything on one machine without a key: Redis, a simulated provider, pictures."""
