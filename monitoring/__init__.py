"""Flower, metrics, rules and dashboards."""
