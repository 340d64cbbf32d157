"""Flower behind passwords, without the content of jobs."""
