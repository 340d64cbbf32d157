"""Writes small wheels; copied beside a `pyproject.toml` it is a build backend without needs."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def write_wheel(
    folder: Path, name: str, version: str, metadata: Sequence[str] = (), tag: str = "py3-none-any"
) -> Path:
    """Write a wheel with one empty module, and these lines in its metadata."""
    stem = f"{name.replace('-', '_').replace('.', '_')}-{version}"
    about = f"{stem}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata]
    files = {
        f"{stem.partition('-')[0]}_module.py": "",
        f"{about}/METADATA": "\n".join([*lines, ""]),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(inside, text)
    return path


def build_editable(
    wheel_directory: str, config_settings: object = None, metadata_directory: object = None
) -> str:
    """Answer the hook of PEP 660."""
    del config_settings, metadata_directory
    return write_wheel(Path(wheel_directory), "visionq", "0.1.0").name
