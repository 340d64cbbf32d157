"""How close a fleet comes to the provider's limit, and how seldom it is refused."""
