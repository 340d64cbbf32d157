"""Name idioms that newcomers stumble over: `check_english.py PATH…`; exits 1 where it finds one.

Looks at docstrings, comments and messages of Python, comments of Lua, and Markdown outside code.
CONTRIBUTING.md shows what to write instead.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: An idiom, and what to write in its place.
IDIOMS: Final = {
    r"\b(is|are|was|were) to be \w+": "say who does it: 'The worker retries …'",
    r"\bwhoever\b": "name the reader or the caller",
    r"\bwhatever\b": "'any …', 'regardless of …'",
    r"\bso many\b": "'this many', or the number",
    r"\bsomebody\b": "'someone', or name them: caller, operator",
    r"\b(?<!be )told\b": "'reported', 'given', 'configured'",
    r"\b(stands?|stood)\b(?! (for|alone)\b)": "'is', 'lies', 'holds', 'applies'",
    r"\bheed(s|ed)?\b": "'respect', 'handle'",
    r"\banew\b": "'again'",
    r"\b(is|are|was|were) said\b": "'is reported', 'is documented'",
    r"\bof (ours|theirs)\b": "'our own …', or leave it out",
    r"\b(mends?|mended|mending)\b(?!`)": "'repair', 'fix'",
    r"\bpaces?\b(?!`)": "'rate limit', 'rate'",
    r"\bsets? aside\b": "'park', 'keep', 'hold'",
    r"\b(at|in) hand\b": "'claimed, not sent'",
    r"\b(lest|whence|thereof|therein|thereby)\b": "plain words",
}
_IDIOM: Final = {re.compile(pattern, re.IGNORECASE): hint for pattern, hint in IDIOMS.items()}
_RIDDLE: Final = re.compile(r"(What|How|Who|Whose|Where) (?!\w+ [^.]*\?)")
_FENCE: Final = re.compile(r"^```.*?^```|^    \S.*?$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]*`")
#: Most words of a docstring's first line; in tests it is a whole sentence.
_LONGEST: Final = 15
_LONGEST_IN_TESTS: Final = 20
#: Strings with fewer words are names and keys, not messages.
_MESSAGE: Final = 4


@dataclass(frozen=True, slots=True)
class Prose:
    """A piece of prose and where it begins; `summary` is the first line of a docstring."""

    line: int
    prose: str
    summary: str = ""


def python_texts(source: str) -> Iterator[Prose]:
    """Yield docstrings, comments and longer strings."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and (docstring := ast.get_docstring(node)):
            line = node.body[0].lineno
            docstrings.add(line)
            functions = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield Prose(line, docstring, docstring.split("\n", 1)[0] if functions else "")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            yield Prose(line, token.string)
        elif token.type == tokenize.STRING and line not in docstrings:
            yield from [Prose(line, token.string)] * (len(token.string.split()) >= _MESSAGE)


def lua_texts(source: str) -> Iterator[Prose]:
    """Yield comments."""
    for line, text in enumerate(source.splitlines(), 1):
        if "--" in text:
            yield Prose(line, text.partition("--")[2])


def markdown_texts(source: str) -> Iterator[Prose]:
    """Yield the lines outside code."""
    prose = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), source)
    yield from (Prose(line, text) for line, text in enumerate(prose.splitlines(), 1))


READERS: Final = {".py": python_texts, ".lua": lua_texts, ".md": markdown_texts}


def findings(text: Prose, longest: int = _LONGEST) -> Iterator[str]:
    """Yield a message for each idiom, riddle or long first line."""
    prose = _CODE.sub("`…`", text.prose)
    for pattern, hint in _IDIOM.items():
        if found := pattern.search(prose):
            yield f"“{found[0]}”: write {hint}"
    if _RIDDLE.match(text.summary):
        yield f"“{text.summary}”: begin with a verb: 'Return …', 'Check …'"
    if len(text.summary.split()) > longest:
        yield f"“{text.summary}”: {longest} words at most in a first line"


def main(paths: list[str]) -> int:
    """Print a line for each finding in the tracked files below the paths."""
    listed = subprocess.run(  # noqa: S603  # our own checkout, asked by its own tool
        ["git", "ls-files", "-z", "--", *paths],  # noqa: S607  # likewise
        capture_output=True,
        text=True,
        check=True,
    )
    count = 0
    for name in filter(None, listed.stdout.split("\0")):
        path = Path(name)
        if (reader := READERS.get(path.suffix)) is None or name.endswith(".ru.md"):
            continue
        longest = _LONGEST_IN_TESTS if name.startswith("tests/") else _LONGEST
        for text in reader(path.read_text("utf-8")):
            for message in findings(text, longest):
                print(f"{name}:{text.line}: {message}")  # noqa: T201  # a command's output
                count += 1
    print(f"{count} findings" if count else "English: nothing found")  # noqa: T201  # likewise
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
