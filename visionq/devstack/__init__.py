"""What lets everything run on one machine without a key: a Redis, a stand-in provider, pictures."""
