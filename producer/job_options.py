"""Options of the command line that become fields of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from visionq.contract import Animated, Policy, Reuse
from visionq.contract.pictures import ASKED_OF_MODEL, COMPUTED

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., Any]")

_REQUIREMENTS: Final = click.Choice((*ASKED_OF_MODEL, *COMPUTED))
_POLICIES: Final = (Policy.REJECT, Policy.WARN, Policy.OFF)
_PERMISSIONS: Final = ("convert", "shrink", "flatten")

_OPTIONS: Final = (
    click.option("--first-frame", is_flag=True, help="Take the first frame of animated pictures."),
    click.option("--convert", is_flag=True, help="Convert BMP, TIFF and AVIF."),
    click.option("--shrink", is_flag=True, help="Take larger files, and shrink them first."),
    click.option("--flatten", is_flag=True, help="Put transparent pictures on white."),
    click.option("--reject", type=_REQUIREMENTS, multiple=True, help="Fail pictures with this."),
    click.option("--warn", type=_REQUIREMENTS, multiple=True, help="Warn of pictures with this."),
    click.option("--off", type=_REQUIREMENTS, multiple=True, help="Do not look for this."),
    click.option("--temperature", type=click.FloatRange(0, 2), help="How freely to answer."),
    click.option("--service-tier", help="How the provider is to schedule it, such as `flex`."),
    click.option(
        "--reuse",
        type=click.Choice([reuse.value for reuse in Reuse]),
        help="What a stored answer to the same question is good for.  [default: use]",
    ),
    click.option("--no-repair", is_flag=True, help="Do not have an answer of another form mended."),
)


def job_options(command: Command) -> Command:
    """Give a command these options; `take_job_options` reads what came of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_job_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a job that the command's options stand for.

    Raises:
        click.UsageError: a requirement was given two policies.
    """
    rest = dict(options)
    pictures: dict[str, Any] = {name: True for name in _PERMISSIONS if rest.pop(name)}
    if rest.pop("first_frame"):
        pictures["animated"] = Animated.FIRST_FRAME.value
    for policy in _POLICIES:
        for requirement in rest.pop(policy.value):
            if pictures.setdefault(requirement, policy.value) != policy.value:
                raise click.UsageError(f"two policies were given for {requirement!r}")
    fields = {name: value for name, value in rest.items() if value is not None}
    if fields.pop("no_repair"):
        fields["repair"] = False
    return fields | ({"pictures": pictures} if pictures else {})
