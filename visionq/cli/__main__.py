"""`python -m visionq.cli`."""

from visionq.cli import main

main()
