"""`visionq demo`: run the whole system once, without a key."""

from __future__ import annotations

import click


@click.command()
def demo() -> int:
    """Show everything at work: real pictures, no key, in under a minute.

    Nothing leaves this machine, and nothing stays on it.
    """
    from visionq.devstack.demo import run_demo  # noqa: PLC0415  # Pillow and rich, for nobody else

    return run_demo()
