"""Turns outside input into jobs."""
