"""Prices, picture tokens, model options and shutdown dates, from dated tables."""
