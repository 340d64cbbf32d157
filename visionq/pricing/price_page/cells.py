"""Recognise a cell of a price list: a model, a price, a column heading, or none of these."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import Final


class Column(StrEnum):
    """The content of a column: the model, or a field of its price."""

    MODEL = "model"
    INPUT = "input"
    CACHED = "cached_input"
    WRITE = "cache_write"
    WRITE_12H = "cache_write_12h"
    OUTPUT = "output"
    #: Not used here: context length, prices of audio or batches.
    OTHER = "other"


#: Words in headings. The first match decides, so the narrower ones come first.
_WORDS: Final = (
    (Column.OTHER, ("batch", "пакет", "flex", "priority", "приоритет", "аудио", "audio", "звук")),
    (Column.OTHER, ("картин", "изображ", "image", "контекст", "context", "тип", "видео", "video")),
    (Column.WRITE, ("запись", "записи", "write")),
    (Column.CACHED, ("кэш", "кеш", "cache")),
    (Column.INPUT, ("ввод", "вход", "запрос", "промпт", "input", "prompt")),
    (Column.OUTPUT, ("вывод", "выход", "ответ", "генерац", "output", "completion")),
    (Column.MODEL, ("модель", "model", "название")),
)
#: Words in headings of prices for long prompts.
_LONG_PROMPT: Final = ("свыше", "более", "больше", ">", "above", "long")
_TWELVE_HOURS: Final = re.compile(r"\b12\s*(ч|h)", re.IGNORECASE)
#: Characters; a longer text is no heading.
_LONGEST_HEADING: Final = 60
_MODEL: Final = re.compile(r"([a-z][a-z0-9_-]*/)?[a-z][a-z0-9]*([.-][a-z0-9]+)*", re.IGNORECASE)
_SPOKEN: Final = re.compile(r"(gpt|o\d)[ -]?[\w.]*( [\w.]+){0,3}", re.IGNORECASE | re.ASCII)
_UNIT: Final = r"(?:\s*+(?:/|за)\s*(?:1\s*)?(?:m|м|млн\.?|миллион)\b[^0-9]{0,20})?"
_PRICE: Final = re.compile(
    r"(?P<number>\d[\d ]*+(?:[.,]\d++)?+)\s*+(?:₽|руб(?:\.|лей|ля|ль)?|р\.|rub)?+" + _UNIT,
    re.IGNORECASE,
)
_FOREIGN: Final = re.compile(r"[$€£¥]|\b(usd|eur|cny)\b|доллар|евро", re.IGNORECASE)
_ABSENT: Final = frozenset({"", "-", "–", "—", "−", "нет", "n/a", "не указано"})
#: Blanks of all widths that occur in numbers.
_NARROW: Final = re.compile("[\u00a0\u2000-\u200a\u202f\u205f]")
_INVISIBLE: Final = re.compile("[\u200b-\u200d\u2060\ufeff\u00ad]")
#: Characters of the longest price and the longest model name that are read.
_LONGEST_PRICE: Final = 60
_LONGEST_NAME: Final = 128
#: Characters shown of any other cell.
_LONGEST_SHOWN: Final = 60
#: A name followed by a remark in Russian.
_REMARKED: Final = re.compile(r"(?P<name>\S+)\s+\(?[а-яё][а-яё .]{1,30}\)?", re.IGNORECASE)


def cleaned(text: str) -> str:
    """Replace unusual blanks, and remove invisible characters."""
    return _INVISIBLE.sub("", _NARROW.sub(" ", text))


def shown(cell: str) -> str:
    """Return the beginning of a cell without control characters."""
    return "".join(filter(str.isprintable, cell[:_LONGEST_SHOWN]))


def column_of(cell: str) -> Column | None:
    """Return the column that a heading names, or None."""
    said = cell.casefold().strip(" :")
    if not said or len(said) > _LONGEST_HEADING or not said[0].isalpha():
        return None
    for column, words in _WORDS:
        if any(word in said for word in words):
            if any(word in said for word in _LONG_PROMPT):
                return Column.OTHER
            is_long = column is Column.WRITE and _TWELVE_HOURS.search(said)
            return Column.WRITE_12H if is_long else column
    return None


def model_of(cell: str) -> str | None:
    """Return the model that a cell names (`GPT-6 Luna` is `gpt-6-luna`), or None."""
    said = cell.strip().strip("`*")
    if len(said) > _LONGEST_NAME or not any(letter.isdigit() for letter in said):
        return None
    if _MODEL.fullmatch(said):
        return said.lower()
    if column_of(said) is not None:
        return None
    remarked = _REMARKED.fullmatch(said)
    if remarked and "-" in remarked["name"] and _MODEL.fullmatch(remarked["name"]):
        return model_of(remarked["name"])
    return said.lower().replace(" ", "-") if _SPOKEN.fullmatch(said) else None


def price_of(cell: str) -> Decimal | None:
    """Return the price in a cell, or None."""
    found = _PRICE.fullmatch(cell.strip()) if len(cell) <= _LONGEST_PRICE else None
    return Decimal(found["number"].replace(" ", "").replace(",", ".")) if found else None


def is_absent(cell: str) -> bool:
    """Return whether a cell marks an absent price."""
    return cell.strip().casefold() in _ABSENT


def is_foreign(cell: str) -> bool:
    """Return whether a cell names another currency."""
    return _FOREIGN.search(cell) is not None
