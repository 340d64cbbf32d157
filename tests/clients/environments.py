"""Environments of their own for the clients that are tried, by names and versions."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
#: Seconds for an installation.
_PATIENCE: Final = 900


@dataclass(frozen=True)
class Client:
    """A client, what is installed for it, and the script that tries it."""

    name: str
    packages: tuple[str, ...]
    script: str

    @property
    def is_node(self) -> bool:
        """Whether it is a package of npm."""
        return self.script.endswith(".mjs")


CLIENTS: Final = (
    Client("OpenAI Python SDK", ("openai==3.57.0",), "try_openai.py"),
    Client("OpenAI Node SDK", ("openai@6.49.0", "zod@4"), "try_openai.mjs"),
    Client("LangChain", ("langchain-openai==1.7.4",), "try_langchain.py"),
    Client("LiteLLM", ("litellm==1.110.2",), "try_litellm.py"),
    Client("pydantic-ai", ("pydantic-ai-slim[openai]==2.68.0",), "try_pydantic_ai.py"),
    Client("instructor", ("instructor==1.17.0",), "try_instructor.py"),
    Client("Vercel AI SDK", ("ai@6.0.326", "@ai-sdk/openai@3.0.141", "zod@4"), "try_vercel.mjs"),
    Client("llm", ("llm==0.36",), "try_llm.py"),
)


def environment_of(client: Client) -> Path:
    """Return the folder of a client's environment, which is made the first time.

    Raises:
        RuntimeError: what it needs can't be installed; the text says why.
    """
    key = hashlib.sha256(repr((client.packages, sys.version)).encode()).hexdigest()[:12]
    folder = _cache() / f"{Path(client.script).stem}-{key}"
    done = folder / "installed"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (_install_node if client.is_node else _install_python)(folder, client.packages)
        done.touch()
    return folder


def command_of(client: Client, folder: Path) -> list[str]:
    """Return the command that runs a client's script in its environment."""
    if not client.is_node:
        return [str(folder / "bin" / "python"), str(HERE / client.script)]
    # Node looks for packages beside the script.
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, folder)
    return ["node", str(folder / client.script)]


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "visionq" / "clients"


def _install_python(folder: Path, packages: tuple[str, ...]) -> None:
    uv = shutil.which("uv")
    python = str(folder / "bin" / "python")
    if uv:
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", python, *packages])
    else:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([python, "-m", "pip", "install", "--quiet", *packages])


def _install_node(folder: Path, packages: tuple[str, ...]) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise RuntimeError("node and npm are not installed")
    (folder / "package.json").write_text('{"private": true}')
    _run([npm, "install", "--no-audit", "--no-fund", "--silent", *packages], folder)


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name}: {(done.stderr or done.stdout)[-500:]}")
