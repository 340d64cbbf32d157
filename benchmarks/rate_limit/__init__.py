"""Fleets at the provider's rate limit: share of the limit reached, and calls refused."""
