"""Workers that share nothing but a network with Redis, the provider and each other."""
