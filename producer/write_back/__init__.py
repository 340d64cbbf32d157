"""`visionq write`: answers written beside pictures or into them, and taken back."""
