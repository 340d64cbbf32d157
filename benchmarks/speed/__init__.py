"""Speed of visionq compared with its alternatives."""
