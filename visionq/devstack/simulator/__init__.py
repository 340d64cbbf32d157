"""A simulated ProxyAPI: both APIs, balance, limits, faults, a bill.

It decodes the pictures it is sent and answers from their pixels, refuses what the provider
refuses, counts tokens by the dated rules of `visionq/data`, and keeps a bill that tests can trust:
nothing in it is shared with the worker that it checks.

Its ceiling, with a client of its own on the same two busy cores (2026-11-22): 3,700 calls a second
with a tiny picture seen before, 1,600 with tiny ones all different, 230 with different JPEGs of
1152x768 and 170 KB, which cost it 5 ms of processor time each.

Importing the package loads no server: start one with `running_simulator`.
"""

from visionq.devstack.simulator.process import RunningSimulator, running_simulator

__all__ = ["RunningSimulator", "running_simulator"]
