"""The job that every contender runs: read a picture, scale it, ask, return the answer."""

from __future__ import annotations

import base64
import io
import os
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai import AsyncOpenAI, OpenAI
    from openai.types.responses import Response

MODEL: Final = "gpt-6-luna"
PROMPT: Final = "Что изображено?"
#: Jobs from this number on only warm the workers; each asks a distinct question.
WARM: Final = 1_000_000
#: Longest side and quality, as in tutorials.
_SIDE: Final = (1152, 1152)
_QUALITY: Final = 85


def usual(data: bytes) -> tuple[str, bytes]:
    """Return the picture encoded as in tutorials: open, thumbnail, save."""
    picture = Image.open(io.BytesIO(data))
    picture.thumbnail(_SIDE)
    target = io.BytesIO()
    picture.convert("RGB").save(target, "JPEG", quality=_QUALITY)
    return "image/jpeg", target.getvalue()


@cache
def _own_code() -> Callable[[bytes], tuple[str, bytes]]:
    from tests.support.prepare_picture import prepare  # noqa: PLC0415  # likewise
    from visionq.contract import Detail  # noqa: PLC0415  # only where it is measured
    from visionq.pricing.vision import load_rules, seen_size  # noqa: PLC0415  # likewise
    from worker.images import ImageLimits  # noqa: PLC0415  # likewise

    rules, limits = load_rules(), ImageLimits()

    def fit(width: int, height: int) -> tuple[int, int]:
        return seen_size(rules, MODEL, Detail.AUTO, width, height)

    def ours(data: bytes) -> tuple[str, bytes]:
        sent = prepare(data, name="picture", limits=limits, fit=fit).sent
        return sent.mime_type, sent.data

    return ours


def encoded(data: bytes) -> str:
    """Return the picture as a data URL, made by the image code that `BENCH_IMAGE_CODE` names."""
    code = usual if os.environ["BENCH_IMAGE_CODE"] == "usual" else _own_code()
    mime_type, sent = code(data)
    return f"data:{mime_type};base64,{base64.b64encode(sent).decode('ascii')}"


def read(path: str) -> str:
    """Read a picture file and return it as a data URL."""
    return encoded(Path(path).read_bytes())


def prompt(number: int) -> str:
    """Return the question of a job; `BENCH_QUESTIONS` limits the distinct ones."""
    distinct = int(os.environ.get("BENCH_QUESTIONS", "0"))
    return f"{PROMPT} #{number % distinct if distinct and number < WARM else number}"


def question(picture: str, number: int) -> dict[str, Any]:
    """Return the arguments of `responses.create`; the number identifies the job in the log."""
    content = [
        {"type": "input_text", "text": prompt(number)},
        {"type": "input_image", "image_url": picture, "detail": "auto"},
    ]
    return {
        "model": MODEL,
        "input": [{"role": "user", "content": content}],
        "max_output_tokens": 300,
    }


def make_client() -> OpenAI:
    """Return a client for jobs in threads or processes."""
    from openai import OpenAI  # noqa: PLC0415  # takes seconds to import

    return OpenAI(max_retries=0, timeout=120)


def make_async_client() -> AsyncOpenAI:
    """Return a client for jobs in coroutines."""
    from openai import AsyncOpenAI  # noqa: PLC0415  # takes seconds to import

    return AsyncOpenAI(max_retries=0, timeout=120)


def answer_of(response: Response) -> dict[str, Any]:
    """Return the result that a job stores."""
    usage = response.usage
    return {
        "text": response.output_text,
        "input_tokens": usage.input_tokens if usage else 0,
        "output_tokens": usage.output_tokens if usage else 0,
        "finished": time.time(),
    }


def do(client: OpenAI, path: str, number: int) -> dict[str, Any]:
    """Run one job in a thread or process."""
    return answer_of(client.responses.create(**question(read(path), number)))


async def do_async(client: AsyncOpenAI, path: str, number: int) -> dict[str, Any]:
    """Run one job in a coroutine; scale its picture in a thread."""
    import asyncio  # noqa: PLC0415  # unused by the others

    picture = await asyncio.to_thread(read, path)
    return answer_of(await client.responses.create(**question(picture, number)))
