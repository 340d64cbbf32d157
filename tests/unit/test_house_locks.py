from __future__ import annotations

import json
import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from scripts.check_locks import LOCKS, RECORD, record

ROOT = Path(__file__).parents[2]
#: `name==version`, perhaps a marker; continued by hashes.
PIN = re.compile(r"(?P<name>[a-z0-9.-]+)(\[[a-z,]+\])?==(?P<version>[^ ;]+)( ; .+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def lines(lock: str) -> list[str]:
    return (ROOT / lock).read_text("utf-8").splitlines()


def pins(lock: str) -> dict[str, str]:
    matches = (PIN.fullmatch(line) for line in lines(lock))
    return {match["name"]: match["version"] for match in matches if match}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_holds_versions_and_hashes_alone(lock: str) -> None:
    """A lock has pins and hashes, and neither an address, a path nor an option."""
    others = [line for line in lines(lock) if not PIN.fullmatch(line) and not HASH.fullmatch(line)]
    assert others == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    """A pin is followed by the hash of at least one file."""
    text = lines(lock)
    starts = [number for number, line in enumerate(text) if PIN.fullmatch(line)]
    assert starts
    assert all(HASH.fullmatch(text[number + 1]) for number in starts)


def test_users_have_the_tested_versions() -> None:
    """Users and the image run the versions that the tests ran with."""
    assert pins("requirements-run.lock").items() <= pins("requirements.lock").items()


def test_lock_covers_every_declared_dependency() -> None:
    """A dependency that is declared, in whichever extra, is in the lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    declared = [*project["dependencies"], *chain.from_iterable(extras)]
    names = {re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in declared}
    assert names - {"visionq"} <= pins("requirements.lock").keys()  # `all` names visionq itself


def test_users_get_no_development_tools() -> None:
    """Packages for developers are neither in the image nor installed by users."""
    assert not {"pytest", "mypy", "ruff"} & pins("requirements-run.lock").keys()


def test_locks_have_wheels_everywhere() -> None:
    """These very locks were checked for wheels, for each Python and platform: run `make lock`."""
    assert json.loads(RECORD.read_text("utf-8")) == json.loads(json.dumps(record()))
