"""A ladder of models: the dear one is asked only where the cheap one is unsure."""
