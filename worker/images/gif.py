"""Reader of GIF containers (GIF89a, appendix B)."""

from __future__ import annotations

import struct
from typing import Final

from worker.images.layout import Cuts, Layout, MalformedError

_SCREEN_BYTES: Final = 13
_HAS_TABLE: Final = 0x80
_EXTENSION: Final = 0x21
_IMAGE: Final = 0x2C
_TRAILER: Final = 0x3B
_GRAPHIC_CONTROL: Final = 0xF9
#: For a pixel: in RGBA, cut out and put on a clear canvas.
_ON_CANVAS_BYTES: Final = 12
_NAMES: Final = {0xFE: "comment", 0xFF: "application data", 0x01: "plain text"}
#: Blocks of at most 255 bytes; writers fill them, so 20 MB make 80,000.
_MAX_BLOCKS: Final = 500_000


def read_gif(data: bytes) -> Layout:
    """Walk the blocks to the trailer.

    Raises:
        MalformedError: cut off, or blocks that make no picture.
    """
    try:
        return _GifWalk(data).layout()
    except (IndexError, struct.error):
        raise MalformedError("the file is cut off: its trailer is missing") from None


class _GifWalk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._blocks = 0
        self._cuts = Cuts()
        self._alpha = False

    def layout(self) -> Layout:
        screen = width, height = struct.unpack_from("<HH", self._data, 6)
        position = self._after_table(10, _SCREEN_BYTES)
        frames, first = 0, (0, 0, 0, 0)
        while (introducer := self._data[position]) != _TRAILER:
            if introducer == _EXTENSION:
                position = self._extension(position)
            elif introducer == _IMAGE:
                frames += 1
                left, top, right, bottom = struct.unpack_from("<HHHH", self._data, position + 1)
                right, bottom = left + right, top + bottom
                width, height = max(width, right), max(height, bottom)
                first = first if frames > 1 else (left, top, right, bottom)
                # One byte after the colour table holds the code size.
                position = self._after_blocks(self._after_table(position + 9, position + 10) + 1)
            else:
                raise MalformedError("the file is broken between blocks")
        self._cuts.cut(position + 1, len(self._data), "appended data")
        if not frames:
            raise MalformedError("there is no picture in the file")
        is_whole = first == (0, 0, width, height)
        return Layout(
            width=width,
            height=height,
            frames=frames,
            # Decoders disagree on a frame that is larger than its screen, or smaller.
            plain=screen == (width, height) and frames == 1 and is_whole,
            lossless=True,
            content=self._cuts.apply(self._data),
            stripped=self._cuts.names,
            alpha=self._alpha or not is_whole,
            frame=None if is_whole else first,
            pixel_bytes=1,
            convert_bytes=4 if is_whole else _ON_CANVAS_BYTES,
        )

    def _extension(self, position: int) -> int:
        label = self._data[position + 1]
        end = self._after_blocks(position + 2)
        if label == _GRAPHIC_CONTROL:
            # The lowest bit of its flags: a colour is transparent.
            self._alpha |= bool(self._data[position + 3] & 1)
        else:
            self._cuts.cut(position, end, _NAMES.get(label, "extension"))
        return end

    def _after_table(self, flags_at: int, position: int) -> int:
        flags = self._data[flags_at]
        return position + (3 << (flags & 7) + 1) if flags & _HAS_TABLE else position

    def _after_blocks(self, position: int) -> int:
        while length := self._data[position]:
            self._blocks += 1
            if self._blocks > _MAX_BLOCKS:
                raise MalformedError("the file has an implausible number of blocks")
            position += length + 1
        return position + 1
