"""Whom a run talks to."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass

import click

from visionq.cli.shared import print_wrapped


@dataclass(frozen=True, slots=True)
class Terminal:
    """Everything for people goes to stderr; stdout has but what `--json` prints."""

    yes: bool = False
    as_json: bool = False

    def say(self, line: str = "") -> None:
        """Print a line; that nobody reads it any more is no reason to stop."""
        with suppress(OSError):
            print_wrapped(line)

    def agree(self, question: str) -> bool:
        """Ask, unless `--yes` was given.

        Raises:
            click.UsageError: nobody is here to answer.
        """
        if self.yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.UsageError(
                "nobody is here to be asked: look at what it costs, then give --yes"
            )
        return click.confirm(question, err=True)
