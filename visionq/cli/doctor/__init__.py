"""`visionq doctor`: check an installation and advise."""
