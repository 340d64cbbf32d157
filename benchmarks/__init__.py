"""Benchmarks of all measured claims: `python -m benchmarks [PART …] [--json]`; see README.md."""
