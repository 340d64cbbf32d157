"""Certificates for servers of this machine."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_certificate(certificate: Path, key: Path) -> None:
    """Make a certificate for 127.0.0.1 that is its own authority."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(  # found on this machine
        [openssl, *options.split(), *names, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
