"""XMP sidecars: merge metadata into one, keeping all that others wrote.

Properties by XMP part 1 (ISO 16684-1), `dc:`, Lightroom's `lr:hierarchicalSubject`, and
`Iptc4xmpCore:AltTextAccessibility` (IPTC Photo Metadata Standard 2021.1).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from visionq.errors import RecordRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from producer.write_back.picture_metadata import PictureMetadata

RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
#: Our own namespace: what wrote which values, so that they can be renewed, and others kept.
OURS: Final = "urn:visionq:xmp:1.0:"
_NAMESPACES: Final = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "visionq": OURS,
}
_TEXTS: Final = {
    "title": "dc:title",
    "description": "dc:description",
    "alt": "Iptc4xmpCore:AltTextAccessibility",
}
_LISTS: Final = {"keywords": "dc:subject", "hierarchy": "lr:hierarchicalSubject"}
_WROTE: Final = "visionq:wrote"
_XMLNS: Final = "http://www.w3.org/2000/xmlns/"
_XML: Final = "http://www.w3.org/XML/1998/namespace"
_MOST_BYTES: Final = 10_000_000
_DEEPEST: Final = 100
#: Characters that XML keeps only as references → what replaces them in memory; no text holds it.
_REPLACED: Final = {"\t": "\ufdd0", "\n": "\ufdd1", "\r": "\ufdd2"}
_IN_ATTRIBUTES: Final = str.maketrans(_REPLACED)
_IN_TEXTS: Final = str.maketrans({"\r": _REPLACED["\r"]})
_REFERENCES: Final = str.maketrans({other: f"&#{ord(one)};" for one, other in _REPLACED.items()})
_EMPTY: Final = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF></x:xmpmeta>\n'
    '<?xpacket end="w"?>\n'
)


def merged(
    sidecar: bytes | None, metadata: PictureMetadata, *, model: str, moment: str
) -> bytes | None:
    """Return the sidecar with the metadata, or None if nothing changes.

    Texts that others wrote stay; keywords are added to theirs. Values of an earlier call are
    replaced, unless they were edited since.

    Raises:
        RecordRefused: the sidecar is not XMP; the message says why, without the file's name.
    """
    document = _parsed(_EMPTY.encode() if sidecar is None else sidecar)
    packet = _Packet(document)
    packet.keep_line_breaks()
    before = packet.wrote()
    wrote: list[str] = []
    for name, tag in _TEXTS.items():
        wrote += packet.set_text(tag, getattr(metadata, name), before)
    for name, tag in _LISTS.items():
        wrote += packet.set_list(tag, getattr(metadata, name), before)
    if set(wrote) == before:
        return None
    packet.sign(wrote, model=model, moment=moment)
    # minidom puts a declaration first, which packets go without.
    text = document.toxml().removeprefix('<?xml version="1.0" ?>')
    return text.translate(_REFERENCES).encode("utf-8")


def _parsed(sidecar: bytes) -> minidom.Document:
    if len(sidecar) > _MOST_BYTES:
        raise RecordRefused(f"a sidecar of more than {_MOST_BYTES:,} bytes")
    try:
        document = minidom.parseString(sidecar)  # noqa: S318  # no DTD: see below; expat bounds the rest
    except (ExpatError, ValueError, LookupError) as error:
        raise RecordRefused(f"broken XML: {error}") from None
    if _is_deep(document):
        raise RecordRefused(f"XML of more than {_DEEPEST} levels")
    if document.doctype is not None:
        raise RecordRefused("XML with a DOCTYPE, which no XMP has")
    if not document.getElementsByTagNameNS(RDF, "RDF"):
        raise RecordRefused("XML without rdf:RDF is no XMP")
    return document


def _is_deep(document: minidom.Document) -> bool:
    level: list[minidom.Node] = [document]
    for _ in range(_DEEPEST + 1):
        level = [child for node in level for child in node.childNodes]
        if not level:
            return False
    return True


def _mark(tag: str, value: str) -> str:
    return f"{tag} {hashlib.sha256(value.encode()).hexdigest()[:16]}"


class _Packet:
    """The RDF of a sidecar."""

    def __init__(self, document: minidom.Document) -> None:
        self._document = document
        self._rdf = document.getElementsByTagNameNS(RDF, "RDF")[0]
        #: As the file names the namespace, nearly always `rdf:`.
        self._prefix = f"{self._rdf.prefix}:" if self._rdf.prefix else ""
        signed = self._elements(_WROTE)
        self._own = _parent(signed[0]) if signed else None

    def keep_line_breaks(self) -> None:
        """Replace characters that minidom writes plainly and readers turn into others."""
        for element in self._document.getElementsByTagName("*"):
            for attribute in element.attributes.values():
                attribute.value = attribute.value.translate(_IN_ATTRIBUTES)
            for child in element.childNodes:
                if isinstance(child, minidom.Text):
                    child.data = child.data.translate(_IN_TEXTS)

    def wrote(self) -> set[str]:
        """Return the marks of the values that we wrote."""
        return {_text(item) for item in self._items(_WROTE)}

    def set_text(self, tag: str, value: str, before: set[str]) -> Iterator[str]:
        """Write a text unless others did; yield its mark."""
        items = self._items(tag)
        there = next((_text(item) for item in items if _text(item)), "")
        if not there:
            there = self._plain(tag)
        is_ours = bool(there) and _mark(tag, there) in before
        if there and not is_ours:
            return
        if not value:
            if is_ours:  # of an earlier answer
                yield _mark(tag, there)
            return
        if value != there:
            self._remove(tag)
            item = self._container(tag, "Alt")
            self._append(item, value, language="x-default")
        yield _mark(tag, value)

    def set_list(self, tag: str, values: Iterable[str], before: set[str]) -> Iterator[str]:
        """Add values to those of others, without our earlier ones; yield our marks."""
        wanted = list(values)
        items = {_text(item): item for item in self._items(tag)}
        for value, item in items.items():
            if wanted and value not in wanted and _mark(tag, value) in before:
                _parent(item).removeChild(item)
        known = {value.casefold() for value in items}
        bag: minidom.Element | None = None
        for value in wanted:
            if value.casefold() not in known:
                bag = bag or self._container(tag, "Bag")
                self._append(bag, value)
                yield _mark(tag, value)
            elif _mark(tag, value) in before:
                yield _mark(tag, value)
        if not wanted:
            yield from (mark for mark in before if mark.startswith(f"{tag} "))

    def sign(self, wrote: Iterable[str], *, model: str, moment: str) -> None:
        """Note which values came from which model."""
        for tag in (_WROTE, "visionq:model", "visionq:moment"):
            self._remove(tag)
        for tag, value in (("visionq:model", model), ("visionq:moment", moment)):
            self._new(tag).appendChild(self._document.createTextNode(value))
        bag = self._container(_WROTE, "Bag")
        for mark in wrote:
            self._append(bag, mark)

    def _elements(self, tag: str) -> list[minidom.Element]:
        prefix, _, name = tag.partition(":")
        every = self._rdf.getElementsByTagNameNS(_NAMESPACES[prefix], name)
        return [one for one in every if _is_description(one.parentNode)]

    def _items(self, tag: str) -> list[minidom.Element]:
        return [
            item
            for element in self._elements(tag)
            for item in element.getElementsByTagNameNS(RDF, "li")
        ]

    def _plain(self, tag: str) -> str:
        """Return the text of a property that is an attribute or a plain element."""
        prefix, _, name = tag.partition(":")
        for description in self._descriptions():
            if value := description.getAttributeNS(_NAMESPACES[prefix], name):
                return str(value)
        return next((text for one in self._elements(tag) if (text := _text(one))), "")

    def _descriptions(self) -> list[minidom.Element]:
        every = self._rdf.childNodes
        return [one for one in every if isinstance(one, minidom.Element) and _is_description(one)]

    def _remove(self, tag: str) -> None:
        for element in self._elements(tag):
            _parent(element).removeChild(element)

    def _container(self, tag: str, kind: str) -> minidom.Element:
        """Return the `rdf:Bag` or the like of a property, made where there is none."""
        for element in self._elements(tag):
            for child in element.childNodes:
                if child.nodeType == child.ELEMENT_NODE and child.namespaceURI == RDF:
                    return child
        container = self._document.createElementNS(RDF, f"{self._prefix}{kind}")
        self._new(tag).appendChild(container)
        return container

    def _new(self, tag: str) -> minidom.Element:
        """Return a new property in a description of our own."""
        if self._own is None:
            self._own = self._document.createElementNS(RDF, f"{self._prefix}Description")
            about = next((one.getAttributeNS(RDF, "about") for one in self._descriptions()), "")
            self._own.setAttributeNS(RDF, f"{self._prefix}about", about)
            for prefix, namespace in _NAMESPACES.items():
                self._own.setAttributeNS(_XMLNS, f"xmlns:{prefix}", namespace)
            self._rdf.appendChild(self._own)
        prefix = tag.partition(":")[0]
        element = self._document.createElementNS(_NAMESPACES[prefix], tag)
        # A program that rewrote the file may have dropped namespaces without a value.
        if self._own.getAttributeNS(_XMLNS, prefix) != _NAMESPACES[prefix]:
            element.setAttributeNS(_XMLNS, f"xmlns:{prefix}", _NAMESPACES[prefix])
        self._own.appendChild(element)
        return element

    def _append(self, container: minidom.Element, value: str, language: str = "") -> None:
        item = self._document.createElementNS(RDF, f"{self._prefix}li")
        if language:
            item.setAttributeNS(_XML, "xml:lang", language)
        item.appendChild(self._document.createTextNode(value))
        container.appendChild(item)


def _parent(element: minidom.Element) -> minidom.Element:
    parent = element.parentNode
    assert isinstance(parent, minidom.Element)  # noqa: S101  # below rdf:RDF
    return parent


def _is_description(node: minidom.Node | None) -> bool:
    return node is not None and (node.namespaceURI, node.localName) == (RDF, "Description")


def _text(element: minidom.Element) -> str:
    """Return the text that an element holds itself."""
    texts = (node.data for node in element.childNodes if node.nodeType == node.TEXT_NODE)
    return "".join(texts).strip()
