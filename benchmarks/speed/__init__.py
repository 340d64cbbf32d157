"""How fast visionq is, beside what one might take instead of it."""
