"""From the messages of a request to the one question that a job is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from visionq.contract import Detail, PromptCache


@dataclass(frozen=True, slots=True)
class Text:
    """Words of a message."""

    text: str
    #: Whether the part of the prompt that the provider keeps ends with it.
    ends_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of a message."""

    url: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """A message, whichever API it came by."""

    role: str
    parts: tuple[Text | Image, ...]


def question_in(said: list[Said], field: str, instructions: str | None = None) -> dict[str, Any]:
    """Return prompt, pictures, detail and instructions of a job.

    A job is one question: instructions, then a text, then pictures. What says more than that, and
    would lose its sense when it is put so, is refused.

    Args:
        said: the messages, in order.
        field: what they are called in the request, for errors.
        instructions: those that stand outside the messages.

    Raises:
        ValueError: the messages are more than one question; the text begins with the field.
    """
    asked = [position for position, one in enumerate(said) if one.role == "user"]
    if len(asked) != 1 or asked[0] != len(said) - 1:
        raise ValueError(
            f"{field}: give one user message, as the last; conversations are not supported here"
        )
    where = f"{field}.{asked[0]}.content"
    texts, images = _sorted_out(said[-1].parts, where)
    rules = [instructions] if instructions else []
    rules += [_words(one, f"{field}.{position}") for position, one in enumerate(said[:-1])]
    fields: dict[str, Any] = {
        "prompt": "\n\n".join(texts),
        "images": [{"url": image.url} for image in images],
    }
    if any(image.detail for image in images):
        fields["detail"] = _detail_of(images, where)
    if rules:
        fields["instructions"] = "\n\n".join(rules)
    if _ends_prefix(said, field):
        fields["prompt_cache"] = PromptCache.INSTRUCTIONS
    return fields


def _ends_prefix(said: list[Said], field: str) -> bool:
    """Return whether the provider keeps the instructions; a job knows no other end of a prefix."""
    marked = [
        (position, index)
        for position, one in enumerate(said)
        for index, part in enumerate(one.parts)
        if isinstance(part, Text) and part.ends_prefix
    ]
    last = (len(said) - 2, len(said[-2].parts) - 1) if len(said) > 1 else None
    for place in marked:
        if place != last:
            position, index = place
            raise ValueError(
                f"{field}.{position}.content.{index}.prompt_cache_breakpoint: supported at the end"
                " of the instructions alone"
            )
    return bool(marked)


def _sorted_out(parts: tuple[Text | Image, ...], where: str) -> tuple[list[str], list[Image]]:
    texts = [part.text for part in parts if isinstance(part, Text)]
    images = [part for part in parts if isinstance(part, Image)]
    if not any(text.strip() for text in texts):
        raise ValueError(f"{where}: there is no text: ask something about the pictures")
    if not images:
        raise ValueError(
            f"{where}: there is no picture: questions about text alone are not"
            " supported; add a picture, or ask the provider itself"
        )
    kinds = [type(part) for part in parts]
    starts = sum(first is not second is Image for first, second in pairwise([Text, *kinds]))
    if starts > 1:
        raise ValueError(
            f"{where}: text between pictures would lose its place: give the pictures one after the"
            " other"
        )
    return texts, images


def _detail_of(images: list[Image], where: str) -> str:
    details = {image.detail or Detail.AUTO.value for image in images}
    if len(details) > 1:
        raise ValueError(f"{where}: all pictures of a request must have the same detail")
    return details.pop()


def _words(said: Said, where: str) -> str:
    if any(isinstance(part, Image) for part in said.parts):
        raise ValueError(f"{where}.content: only the user's message may hold pictures")
    return "\n\n".join(part.text for part in said.parts if isinstance(part, Text))
