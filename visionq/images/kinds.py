"""The type of a file by its content; its name and its headers are never asked."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Final, Literal, TypeGuard, get_args

from visionq.errors import EmptyFile, NotAnImage, UnsupportedFormat

Kind = Literal["jpeg", "png", "webp", "gif"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

#: Formats that workers convert where a job asks, by the name that people know → Pillow's plugin.
CONVERTIBLE: Final = {"BMP": "BMP", "TIFF": "TIFF", "AVIF": "AVIF", "HEIC": "HEIF"}
#: Reads HEIC, where the extra `heic` is installed.
HEIC_PACKAGE: Final = "pi_heif"
_HEIC: Final = "HEIC"

#: Media type of each kind, as in a data URL.
MIME_TYPES: Final[dict[Kind, str]] = {kind: f"image/{kind}" for kind in KINDS}

_SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (rb"\xff\xd8\xff", "jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "png"),
    (rb"GIF8[79]a", "gif"),
    (rb"RIFF....WEBP", "webp"),
    (rb"BM.{4}\0\0\0\0.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
    (rb"(II|MM)(\*\0|\0\*|\+\0|\0\+)", "TIFF"),
    (rb"....ftyp(avif|avis)", "AVIF"),
    (rb"....ftyp(hei[cxms]|hev[cxms])", "HEIC"),
    # `mif1` is the brand of the container; the codec is named further on.
    (rb"....ftyp(mif1|msf1).{0,48}(avif|avis)", "AVIF"),
    (rb"....ftyp(mif1|msf1)", "HEIC"),
    (rb"....ftypcrx ", "Canon raw"),
    (rb"\0\0[\x01\x02]\0[^\0]\0[\s\S]{15}\0", "ICO"),
    (rb"%PDF-", "PDF"),
    (rb"(\xc5\xd0\xd3\xc6|%!PS)", "PostScript"),
    (rb"8BPS\0[\x01\x02]", "Photoshop"),
    (rb"(\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51)", "JPEG 2000"),
    (rb"(\0\0\0\x0cJXL \r\n|\xff\x0a)", "JPEG XL"),
    (rb"(\x8aMNG|\x8bJNG)\r\n", "MNG"),
    (rb"II\xbc\x01", "JPEG XR"),
    (rb"v/1\x01", "OpenEXR"),
    (rb"#\?RADIANCE", "Radiance HDR"),
    (rb"DDS ", "DDS"),
    (rb"qoif", "QOI"),
    (rb"gimp xcf", "GIMP"),
    (rb"AT&TFORM....DJV", "DjVu"),
    (rb"icns", "ICNS"),
    # What repeats here never gives anything back, so that nothing is tried twice.
    (rb"P[1-7]\s++(?:#[^\n]*+\n\s*+)*+[0-9W]", "PNM"),
    (
        rb"(\xef\xbb\xbf)?\s*+(<\?xml[^>]*+>\s*+)?(?>(<!--.*?-->|<!DOCTYPE svg[^>]*+>)\s*+)*+<svg",
        "SVG",
    ),
)
_PATTERNS: Final = tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in _SIGNATURES)
#: No signature needs more, and no pattern is tried on more.
HEAD_BYTES: Final = 1024


def _is_kind(name: str) -> TypeGuard[Kind]:
    return name in KINDS


def is_convertible(found: str) -> bool:
    """Return whether this installation can convert a format on request."""
    return found in CONVERTIBLE and (found != _HEIC or find_spec(HEIC_PACKAGE) is not None)


def own_kind(name: str) -> Kind:
    """Return the name as a `Kind`; raise `ValueError` for formats to convert."""
    if not _is_kind(name):
        raise ValueError(f"{name} is not sent as it is")
    return name


def identify(data: bytes, *, name: str | None = None) -> Kind:
    """Return the kind of picture that `data` begins with.

    Raises:
        EmptyFile: there is not one byte.
        UnsupportedFormat: a picture or document of a type that is not taken; the message names it.
        NotAnImage: nothing that is known as a picture.
    """
    found = recognise(data, name=name)
    if not _is_kind(found):
        message = f"the content is {found}; convert it to JPEG, PNG, WEBP or still GIF"
        if found == _HEIC and not is_convertible(found):
            message += ", or install visionq[heic] for the workers and give --convert"
        elif is_convertible(found):
            message += ", or let the job do so (--convert, or pictures.convert)"
        raise UnsupportedFormat(message, image=name)
    return found


def recognise(data: bytes, *, name: str | None = None) -> str:
    """Return the name of the format, whether it is taken or not.

    Raises:
        EmptyFile: there is not one byte.
        NotAnImage: nothing that is known as a picture.
    """
    if not data:
        raise EmptyFile("the file has no bytes; send the picture itself", image=name)
    found = format_of(data)
    if found is None:
        raise NotAnImage("the content is no picture; send JPEG, PNG, WEBP or GIF", image=name)
    return found


def format_of(data: bytes) -> str | None:
    """Return the format by the first `HEAD_BYTES`; None if unknown."""
    head = data[:HEAD_BYTES]
    return next((name for pattern, name in _PATTERNS if pattern.match(head)), None)
