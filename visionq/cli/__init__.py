"""The `visionq` command: a group whose commands are found by entry point and loaded when used."""

from __future__ import annotations

import re
import sys
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click

from visionq.cli.shared import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    exit_code,
    print_error,
    write_nowhere,
)
from visionq.errors import VisionqError
from visionq.installation import NEEDED, absent_packages, as_one, check_extras, install_finder

COMMANDS: Final = "visionq.commands"
#: Columns of the list of commands that hold neither name nor summary.
_MARGIN: Final = 6


class CommandGroup(click.Group):
    """Offers every command, and imports one only to use it.

    One that lacks packages says how to install them.
    """

    @cached_property
    def found(self) -> dict[str, EntryPoint]:
        """Entry points of the commands, by name."""
        points = sorted(entry_points(group=COMMANDS), key=lambda point: point.name)
        return {point.name: point for point in points}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Name the commands without importing any."""
        return list(self.found)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """Import one command; an `ImportError` inside it is a defect and stays one."""
        point = self.found.get(cmd_name)
        if point is None:
            return None
        if absent_packages(NEEDED.get(cmd_name, ())):
            return _refusing(cmd_name)
        command: click.Command = point.load()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        room = formatter.width - len(max(self.found, key=len, default="")) - _MARGIN
        rows = [(name, self._shown(ctx, name, room)) for name in self.list_commands(ctx)]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def _shown(self, ctx: click.Context, name: str, room: int) -> str:
        is_missing = absent_packages(NEEDED.get(name, ()))
        text = None if is_missing else _docstring(self.found[name])
        command = click.Command(name, help=text) if text else self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str(room)


def _docstring(point: EntryPoint) -> str | None:
    """Read the first paragraph of a command's docstring from its source, without importing it."""
    package, *rest = point.module.split(".")
    spec = find_spec(package)
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    source = Path(folder or "", *rest).with_suffix(".py")
    if folder is None or not source.is_file():
        return None
    text = source.read_text("utf-8")
    begins = re.search(rf"^def {point.attr}\(.*?^    \"\"\"", text, re.DOTALL | re.MULTILINE)
    return re.split(r'\n\n|"""', text[begins.end() :], maxsplit=1)[0] if begins else None


def _refusing(name: str) -> click.Command:
    """Return a placeholder for a command whose packages are not installed."""
    extras = NEEDED[name]

    @click.command(
        name,
        short_help=f"Not installed; comes with visionq[{as_one(extras)}].",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def refuse() -> None:
        check_extras(f"`visionq {name}`", extras)

    return refuse


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="visionq", prog_name="visionq")
def cli() -> None:
    """Ask vision models behind ProxyAPI about pictures; no job is lost, none paid twice."""


def run(arguments: list[str]) -> int:
    """Run a command and return its exit code; expected errors are one line on stderr."""
    try:
        outcome: Any = cli.main(arguments, prog_name="visionq", standalone_mode=False)
    except VisionqError as error:
        print_error(error)
        return exit_code(error)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`).
        write_nowhere()
        return EXIT_FAILED
    return outcome if isinstance(outcome, int) else EXIT_OK


def main() -> None:
    """Run the command line of this process."""
    install_finder()
    for stream in (sys.stdout, sys.stderr):
        # Output is UTF-8 in any locale; a file name that is not text is shown escaped.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
