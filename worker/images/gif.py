"""Reader of GIF containers (GIF89a, appendix B)."""

from __future__ import annotations

from typing import Final

from visionq.images.containers import MalformedError, gif_blocks, gif_box, gif_screen
from worker.images.layout import Cuts, Layout

_GRAPHIC_CONTROL: Final = 0xF9
#: For a pixel: in RGBA, cut out and put on a clear canvas.
_ON_CANVAS_BYTES: Final = 12
_NAMES: Final = {0xFE: "comment", 0xFF: "application data", 0x01: "plain text"}


def read_gif(data: bytes) -> Layout:
    """Walk the blocks to the trailer.

    Raises:
        MalformedError: cut off, or blocks that make no picture.
    """
    screen = width, height = gif_screen(data)
    cuts, alpha = Cuts(), False
    frames, first = 0, (0, 0, 0, 0)
    for label, start, end in gif_blocks(data, cuts.cut):
        if label is None:
            frames += 1
            box = gif_box(data, start)
            width, height = max(width, box[2]), max(height, box[3])
            first = first if frames > 1 else box
        elif label == _GRAPHIC_CONTROL:
            # The lowest bit of its flags: a colour is transparent.
            alpha |= end > start + 4 and bool(data[start + 3] & 1)
        else:
            cuts.cut(start, end, _NAMES.get(label, "extension"))
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
        content=cuts.apply(data),
        stripped=cuts.names,
        alpha=alpha or not is_whole,
        frame=None if is_whole else first,
        pixel_bytes=1,
        convert_bytes=4 if is_whole else _ON_CANVAS_BYTES,
    )
