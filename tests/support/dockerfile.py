"""The Dockerfile as an engine reads it: stages, instructions, and what a change makes again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT: Final = Path(__file__).parents[2]
#: Those that give an image no layer.
_SILENT: Final = ("ARG", "CMD", "STOPSIGNAL", "USER")


@dataclass(frozen=True)
class Instruction:
    """One line, its continuations with it."""

    #: `dependencies`, `wheel`, or empty for the stage that makes the image.
    stage: str
    word: str
    rest: str

    @property
    def source_stage(self) -> str | None:
        """Of a COPY: the stage that it copies from; None where it is the build context."""
        first = self.rest.split()[0]
        return first.partition("=")[2] if first.startswith("--from=") else None

    @property
    def paths(self) -> list[str]:
        """Of a COPY: its sources, and last its target."""
        return [word for word in self.rest.split() if not word.startswith("--")]


def instructions() -> Iterator[Instruction]:
    """Return the instructions in order; a FROM begins a stage."""
    stage = ""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", "")
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.partition(" AS ")[2]
        yield Instruction(stage, word, " ".join(shlex.split(rest)) if word == "FROM" else rest)


def context() -> list[str]:
    """Return what .dockerignore lets into the build context."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    return [line[1:] for line in lines if line.startswith("!")]


def made_anew(changed: Iterable[str]) -> list[Instruction]:
    """Return the instructions that an engine with a full cache carries out after a change.

    An instruction is carried out when one before it in its stage was, when the stage it begins or
    copies from has changed, or when it copies a file that has.
    """
    changed = list(changed)
    stale: dict[str, bool] = {}
    found = []
    for one in instructions():
        if one.word == "FROM":
            stale[one.stage] = stale.get(one.rest.partition(" AS ")[0], False)
            continue
        if one.word == "COPY" and one.source_stage is not None:
            stale[one.stage] = stale[one.stage] or stale[one.source_stage]
        elif one.word == "COPY":
            touched = any(_is_in(file, path) for file in changed for path in one.paths[:-1])
            stale[one.stage] = stale[one.stage] or touched
        if one.stage in stale and stale[one.stage] and one.word not in _SILENT:
            found.append(one)
    return found


def _is_in(file: str, path: str) -> bool:
    return path in {".", file} or file.startswith(f"{path}/")
