"""Tables as people have them, each with the rows that it must yield; made by code, kept nowhere."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BOM = "\ufeff"


@dataclass(frozen=True)
class Table:
    """A CSV, and what is in it: id → names of its pictures, relative to its folder."""

    name: str
    text: str
    rows: Mapping[str, tuple[str, ...]]
    encoding: str = "utf-8"
    #: Part of the report: which columns were taken for what.
    said: str = ""
    #: Files that are there.
    files: tuple[str, ...] = ()
    #: Ids or lines of rows that can't be read.
    bad: tuple[str, ...] = field(default=())


_TWO = {"1": ("a.jpg",), "2": ("b.jpg",)}
_LONG = "<p>" + "Описание " * 20_000 + "</p>"
_NAMES = "id,image,name\n1,a.jpg,x\n2,b.jpg,y\n"

TABLES = (
    Table(
        "commas in names, semicolons between cells",
        "Артикул;Название, цвет, размер;Фото\r\n1;Чайник, белый, 2 л;a.jpg\r\n2;Чашка;b.jpg\r\n",
        _TWO,
        "cp1251",
        "';'; pictures: 'Фото'; ids: 'Артикул'",
    ),
    Table(
        "more commas in quotes than semicolons",
        'id;"a,b,c,d,e";image\n1;"x,y,z";a.jpg\n2;"x,y,z,u,v";b.jpg\n',
        _TWO,
        said="';'",
    ),
    Table("sep= first", "sep=;\r\nid;image\r\n1;a.jpg\r\n2;b.jpg\r\n", _TWO, "utf-8-sig", "';'"),
    Table("sep= of a tab", "sep=\t\nid\timage\n1\ta.jpg\n2\tb.jpg\n", _TWO),
    Table("surplus empty cells", "id;image;;\n1;a.jpg;;;;\n2;b.jpg; ;\n", _TWO, "cp1251"),
    Table("surplus cells", "id,image\n1,a.jpg,,x\n2,b.jpg\n", {"2": ("b.jpg",)}, bad=("line 2",)),
    Table("a second mark", BOM + _NAMES, _TWO, "utf-8-sig", "ids: 'id'"),
    Table("a mark before a quote", f'{BOM}{BOM}"id","image"\n1,a.jpg\n2,b.jpg\n', _TWO),
    Table(
        "invisible characters", "\u200bid\u200b,\u2060image \n\ufeff1,a.jpg\u200b\n2,b.jpg\n", _TWO
    ),
    Table("blanks around", " id , image \n 1 , a.jpg \n 2 , b.jpg \n", _TWO),
    Table("a pipe between cells", "id|image\n1|a.jpg\n2|b.jpg\n", _TWO, said="'|'"),
    Table("blank lines", "\n\nid,image\n\n1,a.jpg\n,,\n2,b.jpg\n\n", _TWO),
    Table("old line ends of a Mac", "id,image\r1,a.jpg\r2,b.jpg\r", _TWO),
    Table("long cells", f"id,image,html\n1,a.jpg,{_LONG}\n2,b.jpg,\n", _TWO),
    Table(
        "a broken quote",
        'id,image\n1,a.jpg\n"x" y,c.jpg\n2,b.jpg\n',
        _TWO,
        bad=("line 3",),
    ),
    Table(
        "columns of one name",
        "id;Фото;Фото;Фото\n1;a.jpg;b.jpg;\n2;b.jpg;;c.jpg\n",
        {"1": ("a.jpg", "b.jpg"), "2": ("b.jpg", "c.jpg")},
        said="pictures: 'Фото', 'Фото 2', 'Фото 3'",
    ),
    Table(
        "columns without a name",
        "id;;image\n1;x;a.jpg\n2;y;b.jpg\n",
        _TWO,
    ),
    Table(
        "several pictures in a cell",
        'id;image\n1;"a.jpg, b.jpg"\n2;a.jpg|b.jpg\n3;"a.jpg\nb.jpg"\n4;"a.jpg; b.jpg;"\n',
        {str(number): ("a.jpg", "b.jpg") for number in range(1, 5)},
    ),
    Table(
        "commas in names of files",
        "id;image\n1;чайник, белый.jpg\n2;a.jpg, чайник, белый.jpg\n3;x, y.jpg\n",
        {
            "1": ("чайник, белый.jpg",),
            "2": ("a.jpg", "чайник, белый.jpg"),
            "3": ("x, y.jpg",),
        },
        files=("чайник, белый.jpg", "a.jpg"),
    ),
    Table(
        "a comma behind an ending, in a name",
        "id;image\n1;a.jpg, b.jpg\n",
        {"1": ("a.jpg, b.jpg",)},
        files=("a.jpg, b.jpg",),
    ),
    Table(
        "backslashes", "id;image\n1;фото\\a.jpg\n", {"1": ("фото/a.jpg",)}, files=("фото/a.jpg",)
    ),
    Table(
        "names of a Mac",
        f"id;image\n1;{unicodedata.normalize('NFC', 'йод/ёж.jpg')}\n",
        {"1": (unicodedata.normalize("NFD", "йод/ёж.jpg"),)},
        files=(unicodedata.normalize("NFD", "йод/ёж.jpg"),),
    ),
    Table(
        "names for a Mac",
        f"id;image\n1;{unicodedata.normalize('NFD', 'ёж.jpg')}\n",
        {"1": (unicodedata.normalize("NFC", "ёж.jpg"),)},
        files=(unicodedata.normalize("NFC", "ёж.jpg"),),
    ),
    Table(
        "a name with a tilde",
        "id;image\n1;~x.jpg\n2;~root/y.jpg\n",
        {"1": ("~x.jpg",), "2": ("~root/y.jpg",)},
    ),
)

#: Cells of addresses → the addresses in them.
ADDRESSES = {
    "https://a.example/1.jpg, https://a.example/2.jpg": 2,
    "https://a.example/1.jpg https://a.example/2.jpg\nhttps://a.example/3.jpg": 3,
    "https://a.example/1.jpg;https://a.example/2.jpg": 2,
    "https://a.example/1.jpg|https://a.example/2.jpg|": 2,
    "https://a.example/crop,w_100/1.jpg?x=1;2": 1,
    "https://a.example/my photo.jpg": 1,
    "\ufeffhttps://a.example/1.jpg\u200b ": 1,
    "data:image/png;base64,AAAA": 1,
    "data:image/png;base64,AAAA | data:image/png;base64,BBBB": 2,
}

#: Lines of a JSONL, each by itself fit to end a careless run.
ROWS = (
    r'{"id": "\ud83d", "image": "a.jpg", "name": "x"}',
    r'{"id": "a\u0000b", "image": "a.jpg", "name": "x"}',
    r'{"id": "half a path", "image": "\ud800.jpg", "name": "x"}',
    r'{"id": "nothing in a path", "image": "a\u0000.jpg", "name": "x"}',
    r'{"id": "half a value", "image": "a.jpg", "name": "\udc00\ud83d"}',
    r'{"id": "tilde", "image": "~nobody/x.jpg", "name": "x"}',
    r'{"id": "tilde file", "image": "~x.jpg", "name": "x"}',
    '{"id": "digits", "image": "a.jpg", "name": ' + "9" * 5000 + "}",
    '{"id": "deep", "image": "a.jpg", "name": ' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"id": {"a": 1}, "image": "a.jpg", "name": "x"}',
    '{"id": null, "image": "a.jpg", "name": "x"}',
    '{"id": 7, "image": {"url": 5}, "name": "x"}',
    '{"id": "infinite", "image": "a.jpg", "name": Infinity}',
    '{"id": "no url", "image": {}, "name": "x"}',
    '{"id": "lists", "image": [[["a.jpg"]]], "name": "x"}',
    '{"id": "long name", "image": "' + "x" * 5000 + '.jpg", "name": "x"}',
    '{"id": "bad data", "image": "data:image/png;base64,@@@", "name": "x"}',
    '{"id": "bad address", "image": "https://[::1/a.jpg", "name": "x"}',
    '{"id": "a port", "image": "https://a.example:99999/a.jpg", "name": "x"}',
    '{"id": "folder", "image": ".", "name": "x"}',
    '{"id": "file address", "image": "file://[/a.jpg", "name": "x"}',
    '{"id": "many", "image": "' + ", ".join(["a.jpg"] * 600) + '", "name": "x"}',
    '{"id": "' + "long id " * 10_000 + '", "image": "a.jpg", "name": "x"}',
    "null",
    '"text"',
    "{",
    '{"image": "a.jpg"',
)
