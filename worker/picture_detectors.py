"""Local detectors of pictures (`visionq.detectors`), and the built-in text detector.

The text detector uses Tesseract: the extra `ocr`, and Debian's `tesseract-ocr`. Chosen over
rapidocr because it reads Cyrillic and needs neither onnxruntime nor OpenCV.
"""

from __future__ import annotations

import io
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from PIL import Image

from visionq.contract import Policy
from visionq.errors import PictureRejected
from visionq.installation import install_command
from visionq.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionq.contract import PictureOptions
    from visionq.detectors import Detector


def judge(
    parts: Sequence[bytes], options: PictureOptions, detectors: Sequence[Detector], *, name: str
) -> tuple[str, ...]:
    """Return the warnings that the detectors give about a picture, whole or in crops.

    Raises:
        PictureRejected: it breaks a requirement that the job insists on.
    """
    warnings = []
    for detector in detectors:
        policy = options.policy(detector.requirement)
        if policy is Policy.OFF:
            continue
        try:
            answers = map(detector.find, parts)
            found = next((answer for answer in answers if answer is not None), None)
        except Exception as error:  # noqa: BLE001  # foreign code; the job goes on with a warning
            warnings.append(f"not looked at for {detector.requirement}: {type(error).__name__}")
            continue
        if found is None:
            continue
        if policy is Policy.REJECT:
            asked = f"--reject {detector.requirement}, or pictures.{detector.requirement}"
            raise PictureRejected(f"{found} ({asked})", image=name)
        warnings.append(found)
    return tuple(warnings)


#: Confidence of a word, of 100; noise is read as words of less (reference pictures, Nov 2026).
_LEAST_CONFIDENCE: Final = 60.0
#: Characters that a word has at least, and that all words have together.
_LEAST_WORD: Final = 3
_LEAST_CHARACTERS: Final = 4
_SHOWN_WORDS: Final = 5
_SECONDS: Final = 20
#: Sparse text, in no particular order.
_LAYOUT: Final = "--psm 11"
_LANGUAGES: Final = ("eng", "rus")


class TextDetector:
    """Finds words; says the first few of them."""

    requirement = "text"

    def __init__(self, languages: Sequence[str]) -> None:
        """Read text in these languages, by Tesseract's names."""
        self._languages = "+".join(languages)

    def find(self, picture: bytes) -> str | None:
        """Return the words found, or None; errors of Tesseract are raised."""
        import pytesseract  # type: ignore[import-untyped]  # noqa: PLC0415  # where it is wanted

        with Image.open(io.BytesIO(picture)) as opened:
            read = pytesseract.image_to_data(
                opened.convert("RGB"),
                lang=self._languages,
                config=_LAYOUT,
                timeout=_SECONDS,
                output_type=pytesseract.Output.DICT,
            )
        words = [
            text.strip()
            for text, confidence in zip(read["text"], read["conf"], strict=True)
            if float(confidence) >= _LEAST_CONFIDENCE and _is_word(text)
        ]
        if sum(map(len, words)) < _LEAST_CHARACTERS:
            return None
        return f"text in the picture: {' '.join(words[:_SHOWN_WORDS])}"


def _is_word(text: str) -> bool:
    return sum(map(str.isalnum, text)) >= _LEAST_WORD


def make() -> TextDetector:
    """Return the detector for English and Russian, as far as they are installed.

    Raises:
        ConfigurationError: there is no Tesseract, or neither language, or not the extra `ocr`.
    """
    if find_spec("pytesseract") is None:
        raise ConfigurationError(f"VISIONQ_DETECTORS: ocr needs an extra: {install_command('ocr')}")
    import pytesseract  # noqa: PLC0415  # likewise

    try:
        installed = set(pytesseract.get_languages())
    except (pytesseract.TesseractNotFoundError, OSError):
        raise ConfigurationError(
            "VISIONQ_DETECTORS: ocr needs tesseract (Debian: tesseract-ocr, tesseract-ocr-rus)"
        ) from None
    languages = [language for language in _LANGUAGES if language in installed]
    if not languages:
        raise ConfigurationError("VISIONQ_DETECTORS: ocr: tesseract has neither eng nor rus")
    # One picture at a time for each core: Tesseract's own threads only get in each other's way.
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")
    return TextDetector(languages)
