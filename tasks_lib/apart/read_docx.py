"""The text of a Word document: headings, paragraphs and tables in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import docx
from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.exceptions import PackageNotFoundError
from docx.oxml.ns import qn
from lxml.etree import XMLSyntaxError, _Element

from dataflow.lib.errors import TaskError
from tasks_lib import zip_reading
from tasks_lib.apart.entry import SOURCE
from tasks_lib.apart.texts import TextFile, short

#: What the package may hold: all of it is held in memory, and its XML as a tree of many times its size.
LIMITS = zip_reading.ZipLimits(entries=2000, total=200 * 1024 * 1024, entry=100 * 1024 * 1024)
MAX_XML = 20 * 1024 * 1024
_FOLDER = "word/"
_BREAKS = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
#: Deleted text, how a paragraph looks, and the second telling of a drawing for old programs.
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_LEFT_OUT = {qn("w:del"), qn("w:moveFrom"), qn("w:pPr"), _FALLBACK}
_CORE = ("author", "subject", "keywords", "category", "comments", "language", "last_modified_by", "created", "modified")


def work(order: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``SOURCE``; the text goes to ``TEXT``. ``order``: ``max_characters``."""
    _require_document()
    with TextFile(order["max_characters"]) as text:
        try:
            document = docx.Document(SOURCE)
        except XMLSyntaxError as error:
            raise TaskError("validation", f"The XML in the Word document cannot be read: {short(error)}") from error
        except (KeyError, ValueError, PackageNotFoundError) as error:
            raise TaskError("validation", f"The file is no Word document: {short(error)}") from error
        body = getattr(document.element, "body", None)
        if body is None:
            raise TaskError(
                "validation", "The Word document is not in the usual form (strict Open XML?). Save it as DOCX."
            )
        _write(body, text)
        return {"characters": text.characters, "metadata": {}, "title": None} | _told_of(document)


def _require_document() -> None:
    """That it is a Word document by its folders and no bomb, and that its XML defines no entities."""
    with Path(SOURCE).open("rb") as file, zip_reading.opened(file, LIMITS) as (archive, entries):
        paths = [entry.path for entry in entries]
        if not any(path.startswith(_FOLDER) for path in paths):
            raise TaskError("validation", f"The file is {_other(paths)}; PDF, DOCX, HTML, Markdown and text are read.")
        documents = [entry for entry in entries if entry.path.endswith((".xml", ".rels"))]
        if (size := sum(entry.info.file_size for entry in documents)) > MAX_XML:
            raise TaskError("too_large", f"The Word document has {size:,} bytes of XML; at most {MAX_XML:,} are read.")
        for entry in documents:
            _require_no_entities(archive, entry)


def _require_no_entities(archive: ZipFile, entry: zip_reading.Entry) -> None:
    """Word writes no document types. In UTF-16, one would hide from this look; no XML in a package is in UTF-16."""
    tail = b""
    for chunk in zip_reading.chunks(archive, entry):
        if b"<!DOCTYPE" in tail + chunk or b"\0" in chunk:
            raise TaskError(
                "validation", f"The Word document is refused: {entry.path} has a document type or NUL bytes in it."
            )
        tail = chunk[-8:]


def _other(paths: Sequence[str]) -> str:
    known = {"xl/": "an Excel workbook", "ppt/": "a PowerPoint presentation", "META-INF/": "a package of another kind"}
    found = (name for beginning, name in known.items() if any(path.startswith(beginning) for path in paths))
    return next(found, "a ZIP archive: unpack it with archive.unzip")


def _write(parent: _Element, text: TextFile) -> None:
    """The blocks of the body or of a content control, in order."""
    for block in _blocks(parent):
        if block.tag == qn("w:p"):
            text.paragraph(_paragraph(block))
        else:
            for number, row in enumerate(_rows(block)):
                (text.line if number else text.paragraph)(row)


def _blocks(parent: _Element) -> Iterator[_Element]:
    """Paragraphs and tables, those in content controls and custom XML too."""
    left = [iter(parent)]
    while left:
        child = next(left[-1], None)
        if child is None:
            left.pop()
        elif child.tag in (qn("w:p"), qn("w:tbl")):
            yield child
        elif child.tag in (qn("w:sdt"), qn("w:sdtContent"), qn("w:customXml"), qn("w:ins"), qn("w:smartTag")):
            left.append(iter(child))


def _rows(table: _Element) -> Iterator[str]:
    """A line for each row, its cells apart by tabs. A table in a cell is told in that cell."""
    for row in table.iterchildren(qn("w:tr")):
        cells = [" ".join(filter(None, _cell(cell))) for cell in row.iter(qn("w:tc")) if _row_of(cell) is row]
        yield "\t".join(cells)


def _row_of(cell: _Element) -> _Element | None:
    return next(cell.iterancestors(qn("w:tr")), None)


def _cell(cell: _Element) -> Iterator[str]:
    for paragraph in cell.iter(qn("w:p")):
        if next(paragraph.iterancestors(qn("w:p")), None) is None:  # else it is told with the one around it
            yield " ".join(_paragraph(paragraph).split())


def _paragraph(paragraph: _Element) -> str:
    """Its text, with what was inserted and what stands in text boxes, without what was deleted."""
    parts: list[str] = []
    left = [iter(paragraph)]
    while left:
        child = next(left[-1], None)
        if child is None:
            left.pop()
        elif child.tag == qn("w:t"):
            parts.append(child.text or "")
        elif child.tag in _BREAKS:
            parts.append(_BREAKS[child.tag])
        elif child.tag not in _LEFT_OUT:
            if child.tag == qn("w:p"):
                parts.append("\n")
            left.append(iter(child))
    return "".join(parts)


def _told_of(document: Document) -> dict[str, Any]:
    """``metadata`` and ``title``, where the document has them: python-docx makes some up where not."""
    if document.part.package is None or not any(
        relation.reltype == RELATIONSHIP_TYPE.CORE_PROPERTIES for relation in document.part.package.rels.values()
    ):
        return {}
    return {"metadata": _metadata(document), "title": _title(document)}


def _metadata(document: Document) -> dict[str, str]:
    core = document.core_properties
    found = {name: getattr(core, name) for name in _CORE}
    dates = {name: value.isoformat() for name, value in found.items() if hasattr(value, "isoformat")}
    return {name: short(value) for name, value in (found | dates).items() if value}


def _title(document: Document) -> str | None:
    return short(document.core_properties.title) or None
