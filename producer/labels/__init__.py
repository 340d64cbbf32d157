"""Boxes of answers as labels for training and labelling tools."""
