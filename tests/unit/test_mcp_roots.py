"""The folders that an agent may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producer.mcp_server.roots import open_roots
from visionq.errors import InvalidSource

if TYPE_CHECKING:
    from pathlib import Path

JPEG = b"\xff\xd8\xff\xe0 and so on"


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "in").mkdir(parents=True)
    (tmp_path / "shop" / "in" / "a.jpg").write_bytes(JPEG)
    (tmp_path / "shop-private").mkdir()
    (tmp_path / "shop-private" / "b.jpg").write_bytes(JPEG)
    return tmp_path / "shop"


@pytest.mark.parametrize("name", ["in", "./in", "in/../in", "in/a.jpg", "."])
def test_paths_within(root: Path, name: str) -> None:
    """Relative and absolute names of files and folders in a root are found."""
    roots = open_roots([root])
    assert roots.path(name) == (root / name).resolve()
    assert roots.path(str(root / name)) == (root / name).resolve()


@pytest.mark.parametrize(
    "name",
    ["..", "../shop-private", "in/../../shop-private/b.jpg", "/etc", "absent", "s3://b/k", "\0"],
)
def test_paths_outside(root: Path, name: str) -> None:
    """A name that leads out, also to a folder whose name begins alike, is refused."""
    with pytest.raises(InvalidSource, match="is not in the folders"):
        open_roots([root]).path(name)


def test_links_out_are_refused(root: Path) -> None:
    """A link out of a root is refused as a path, in a folder, and named by a manifest."""
    (root / "in" / "link.jpg").symlink_to(root.parent / "shop-private" / "b.jpg")
    roots = open_roots([root])
    with pytest.raises(InvalidSource, match="is not in the folders"):
        roots.picture("in/link.jpg")
    with pytest.raises(InvalidSource, match="outside of the folders"):
        roots.source("in")
    (root / "list.csv").write_text("id,image\n1,../shop-private/b.jpg\n")
    with pytest.raises(InvalidSource, match="outside of the folders"):
        roots.source("list.csv")
    (root / "bucket.csv").write_text("id,image\n1,s3://bucket/b.jpg\n")
    with pytest.raises(InvalidSource, match="outside of the folders"):
        roots.source("bucket.csv")


def test_no_row_charges_another_tenant(root: Path) -> None:
    """A manifest can't get round the budget of the server's own tenant."""
    (root / "list.csv").write_text("id,image,visionq.tenant\n1,in/a.jpg,shop\n")
    with pytest.raises(InvalidSource, match="row '1' names a tenant"):
        open_roots([root]).source("list.csv")
    (root / "list.csv").write_text("id,image,visionq.tenant\n1,in/a.jpg,\n")
    open_roots([root]).source("list.csv")


def test_roots_are_folders(root: Path) -> None:
    """A root that is a link, absent or a file is refused in one line."""
    (root.parent / "link").symlink_to(root)
    for folder, said in (
        (root.parent / "link", "this is a link"),
        (root.parent / "absent", "no such folder"),
        (root / "in" / "a.jpg", "no such folder"),
    ):
        with pytest.raises(InvalidSource, match=said):
            open_roots([folder])
