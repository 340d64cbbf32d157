"""Workers that share only a network with Redis, the provider and each other."""
