"""A network on one machine: a bridge, and a namespace for each host.

Needs Linux, `ip` and root. Addresses come from the benchmarking range (198.18.0.0/15, RFC 2544).
Loopback stays down in each namespace, so that any connection to localhost fails.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUBNET: Final = "198.18.77"


class NotPermitted(RuntimeError):
    """Network namespaces are not available; the message says why."""


@dataclass(frozen=True)
class Network:
    """Hosts that reach this machine at the address of its bridge."""

    #: This machine's address.
    address: str
    #: Name of a namespace → its address.
    hosts: dict[str, str]


@contextmanager
def network(count: int) -> Iterator[Network]:
    """Create `count` hosts for the duration of the block. Raises `NotPermitted`."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        raise NotPermitted("needs Linux, the `ip` program and root")
    name = f"vq{secrets.token_hex(2)}"
    with ExitStack() as stack:
        _ip("link", "add", name, "type", "bridge")
        stack.callback(_ip, "link", "delete", name)
        _ip("address", "add", f"{_SUBNET}.1/24", "dev", name)
        _ip("link", "set", name, "up")
        hosts = {}
        for number in range(count):
            host, address = f"{name}-{number}", f"{_SUBNET}.{number + 10}"
            _ip("netns", "add", host)
            # Deleting the namespace deletes its end of the veth pair, and with it the other end.
            stack.callback(_ip, "netns", "delete", host)
            _plug(name, host, address)
            hosts[host] = address
        yield Network(f"{_SUBNET}.1", hosts)


def _plug(bridge: str, host: str, address: str) -> None:
    cable = f"{host}c"
    _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host)
    _ip("link", "set", cable, "master", bridge, "up")
    _ip("-n", host, "address", "add", f"{address}/24", "dev", "eth0")
    _ip("-n", host, "link", "set", "eth0", "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607  # the system's own program
    if done.returncode:
        raise NotPermitted(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
