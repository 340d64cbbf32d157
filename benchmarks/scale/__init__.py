"""Fleets beyond one machine: simulated, and checked against small real fleets."""
