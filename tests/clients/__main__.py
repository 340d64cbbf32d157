"""Tries every client against a gateway with the simulator behind it, and prints what passed."""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from tests.clients.environments import CLIENTS, Client, command_of, environment_of
from tests.conftest import scrub_environment
from tests.support.gateway import KEY, gateway_and_fleet
from tests.support.pictures import picture
from visionq.ledger import BudgetScope, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

#: One with reasoning, which the simulator serves too.
MODEL: Final = "gpt-6-luna"
#: Seconds for all checks of one client.
_PATIENCE: Final = 300


def main(arguments: list[str]) -> int:
    """Try the clients that are named, or all; returns 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    names = [Path(client.script).name for client in CLIENTS]
    parser.add_argument("scripts", nargs="*", help=f"of {', '.join(names)}, or all")
    chosen = parser.parse_args(arguments).scripts or names
    if unknown := set(chosen) - set(names):
        parser.error(f"there is no script {', '.join(sorted(unknown))}")
    scrub_environment()
    with stack() as environment:
        told = [
            (client, tried(client, environment)) for client in CLIENTS if client.script in chosen
        ]
    return report(told)


@contextmanager
def stack() -> Iterator[dict[str, str]]:
    """Run gateway, worker and simulator; give the scripts' environment."""
    with (
        TemporaryDirectory() as folder,
        gateway_and_fleet(Path(folder)) as (gateway, fleet),
        serving(Path(folder)) as address,
    ):
        (Path(folder) / "other.png").write_bytes(picture(7))
        file = Path(folder) / "picture.png"
        file.write_bytes(picture(8))
        Ledger(fleet.redis).set_budget(BudgetScope.tenant("poor"), Decimal(0))
        yield {
            "BASE_URL": f"{gateway.url}/v1",
            "API_KEY": KEY,
            "POOR_KEY": gateway.new_key("poor"),
            "MODEL": MODEL,
            "PICTURE_URL": f"{address}/other.png",
            "PICTURE_FILE": str(file),
            "PICTURE_DATA": f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}",
            "SIMULATOR_URL": fleet.simulator.url,
        }


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the files of a folder; gives the address."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Say nothing: standard error is for what goes wrong."""


def tried(client: Client, environment: dict[str, str]) -> dict[str, Any]:
    """Return a client script's report: `versions`, and `checks` of name, passed and note."""
    try:
        command = command_of(client, environment_of(client))
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return {"versions": {}, "checks": [{"name": "runs", "passed": False, "note": str(error)}]}
    except (ValueError, IndexError):
        note = f"exit code {done.returncode}: {done.stderr[-1500:]}"
        return {"versions": {}, "checks": [{"name": "runs", "passed": False, "note": note}]}
    return told


def report(told: list[tuple[Client, dict[str, Any]]]) -> int:
    """Print the table, and each check that failed; returns the exit code."""
    sys.stdout.write(
        "| client | versions | passed | of which refusals in words |\n|---|---|---|---|" + "\n"
    )
    failed = []
    for client, one in told:
        checks = one["checks"]
        versions = ", ".join(f"{name} {number}" for name, number in one["versions"].items())
        passed = sum(check["passed"] for check in checks)
        refusals = sum(bool(check.get("refusal")) for check in checks if check["passed"])
        sys.stdout.write(
            f"| {client.name} | {versions} | {passed} of {len(checks)} | {refusals} |" + "\n"
        )
        failed += [(client, check) for check in checks if not check["passed"]]
    for client, check in failed:
        sys.stdout.write(f"\nFAILED {client.name}: {check['name']}: {check.get('note', '')}" + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
