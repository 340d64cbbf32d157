"""The pictures of a row, as the SDK takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from producer.sources.bucket import SCHEME, read_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from visionq.sdk import ImageInput


def take_row_pictures(images: Iterable[str], most_bytes: int) -> list[ImageInput]:
    """Return names of files and addresses as they are, and objects of a store as their bytes.

    Raises:
        InputFileNotFound: there is no such object.
        DownloadFailed: the store can't be read.
    """
    return [
        (image, read_object(image, most_bytes)) if image.startswith(SCHEME) else image
        for image in images
    ]
