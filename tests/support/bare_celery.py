"""Programs that know nothing but Celery: an environment that holds only `celery[redis]`."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

_PREAMBLE = """
import json, sys
assert not any(name.split(".")[0] in ("visionq", "worker", "pydantic") for name in sys.modules)
try:
    import visionq
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("visionq is installed here")
from celery import Celery, chain, chord, group
app = Celery(broker=sys.argv[1], backend=sys.argv[1])
given = json.loads(sys.argv[2])

def outcome(result, timeout=60):
    try:
        reply = {"answer": result.get(timeout=timeout)}
    except Exception as error:
        reply = {"error": str(error), "raised": type(error).__name__}
    return {"id": result.id, "state": result.state, **reply}

def reply(value):
    print(json.dumps(value, ensure_ascii=False))
"""


def install_celery_alone(folder: Path) -> Path:
    """Link the files of `celery[redis]`, and of what that needs, into an empty directory."""
    done: set[str] = set()
    wanted = [Requirement("celery[redis]")]
    while wanted:
        requirement = wanted.pop()
        key = f"{requirement.name}[{','.join(sorted(requirement.extras))}]".lower()
        if key in done:
            continue
        done.add(key)
        package = distribution(requirement.name)
        for file in package.files or ():
            top = file.parts[0]
            target = folder / top
            if top not in ("..", "__pycache__") and not target.exists():
                target.symlink_to(Path(str(package.locate_file(top))))
        for text in package.requires or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                wanted.append(needed)
    return folder


def caller_source(environment: Path, program: str) -> str:
    """Return a program, with what it is given, that finds its packages in the environment."""
    return f"import sys; sys.path.insert(0, {str(environment)!r})\n{_PREAMBLE}\n{program}"


def run_caller(environment: Path, fleet: Fleet, program: str, **given: Any) -> Any:
    """Run a program with `app`, `given`, `outcome` and `reply`; return what it replies."""
    source = caller_source(environment, program)
    # -S: no site-packages; -E: no PYTHONPATH; -P: not this directory.
    command = [sys.executable, "-S", "-E", "-P", "-c", source, fleet.server.url]
    ended = subprocess.run(
        [*command, json.dumps(given)], check=False, capture_output=True, text=True, timeout=90
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
