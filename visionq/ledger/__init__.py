"""The record of every job, attempt and ruble: seven scripts in Redis, one a transition."""
