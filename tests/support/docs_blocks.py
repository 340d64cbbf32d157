"""The code blocks of README and docs, as tests read them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL: Final = frozenset({"", "sh"})
#: What ends a command on its line.
_ENDS: Final = frozenset({"|", "&&", "||", ";", "&", ">", ")", "{"})


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in _BLOCK.finditer(text)
    ]


def shell_lines(block: Block) -> list[str]:
    """Return the commands of a block; those of other languages have none."""
    if block.language not in _SHELL:
        return []
    return [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]


def visionq_arguments(line: str) -> list[str] | None:
    """Return the arguments of the visionq command on a line; None where there is none."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return None
    starts = [place for place, word in enumerate(words) if word.split("/")[-1] == "visionq"]
    if not starts:
        return None
    start = starts[-1] + 1
    end = next((n for n, word in enumerate(words) if n >= start and word in _ENDS), len(words))
    return words[start:end]
