"""A fleet past one machine: simulated, and checked against real fleets where they are small."""
