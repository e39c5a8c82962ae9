"""``document.extract_text``: what a document says."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow.lib import sniffing
from dataflow.lib.errors import TaskError
from dataflow.lib.text_kinds import HTML, TEXTS, XHTML
from tasks_lib import file_values, web_text
from tasks_lib.apart.entry import SOURCE
from tasks_lib.apart.texts import TEXT
from tasks_lib.base import Field, FileValue, JsonValue, TaskContext, TaskType
from tasks_lib.clients import apart

#: Bytes of a document, of one that is nothing but text, pages of a PDF, and characters of the text that comes out.
MAX_BYTES, MAX_TEXT_BYTES = 100 * 1024 * 1024, 20 * 1024 * 1024
MAX_PAGES, MAX_CHARACTERS = 2000, 10_000_000
_READ = "PDF, DOCX, HTML, Markdown and plain text"
_HEADING = re.compile(r"^# +(\S.*?) *#* *$", re.MULTILINE)
#: What else it may be, and what helps.
_OTHERWISE = {
    sniffing.OLE: "an old Office document, or one with a password. Save it as DOCX without a password",
    "application/rtf": "a rich text (RTF) document. Save it as DOCX",
}


class DocumentExtractText(TaskType):
    """The text of a document, told by its content whatever it is called."""

    name = "document.extract_text"
    title = "Extract text from a document"
    category = "files"
    description = f"The text of a document: {_READ}. What it is, is told by its content, not by its name."
    inputs = (Field(name="file", type="file", required=True, aliases=("document",), description="The document"),)
    outputs = (
        Field(name="text", type="text", description="The text; pages and paragraphs are apart by an empty line"),
        Field(name="title", type="text", description="Title, where the document has one"),
        Field(name="pages", type="number", description="Number of pages, of a PDF", example=2),
        Field(name="metadata", type="object", description="What the document says about itself: author, dates …"),
        Field(name="format", type="text", description="What it is: pdf, docx, html, markdown or text", example="pdf"),
    )
    timeout = 900.0
    retried = ("timeout",)
    example = {"file": "fl-sample0pdf"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Extract. Raises ``validation`` for what cannot be read or has no text, ``too_large`` over the limits."""
        with tempfile.TemporaryDirectory(prefix="document-") as name:
            folder = Path(name)
            path = folder / SOURCE
            file_values.copy(context, inputs["file"], path, most=MAX_BYTES, what="The document")
            with path.open("rb") as file:
                head = file.read(sniffing.HEAD)
            if head.startswith(b"PK"):
                return _of_docx(context, folder)
            found = _kind(head, inputs["file"])
            if found == sniffing.PDF:
                return _of_pdf(context, folder)
            if TEXTS.fullmatch(found):
                return _of_text(path, inputs["file"], found)
            what = _OTHERWISE.get(found, f"{found}, which is not read")
            raise TaskError("validation", f"The file is {what}. Text is taken from {_READ}.")


def _kind(head: bytes, value: FileValue) -> str:
    """Its media type; a PDF may have other bytes before its beginning, and a text odd ones in it."""
    found = file_values.media_type(value, head).partition(";")[0]
    if found == sniffing.UNKNOWN and b"%PDF-" in head[:1024]:
        return sniffing.PDF
    return "text/plain" if found == sniffing.UNKNOWN and web_text.is_text("", head) else found


def _of_pdf(context: TaskContext, folder: Path) -> dict[str, JsonValue]:
    found = _apart(context, "read_pdf", folder, "The PDF", max_pages=MAX_PAGES, max_characters=MAX_CHARACTERS)
    if not found["text"]:
        raise TaskError(
            "validation",
            f"The PDF has no text layer in its {found['pages']} pages: they are pictures, of a scanner most likely. "
            "Run text recognition (OCR) over it first.",
        )
    return {**found, "format": "pdf"}


def _of_docx(context: TaskContext, folder: Path) -> dict[str, JsonValue]:
    found = _apart(context, "read_docx", folder, "The Word document", max_characters=MAX_CHARACTERS)
    return {**found, "pages": None, "format": "docx"}


def _apart(context: TaskContext, reader: apart.Reader, folder: Path, what: str, **order: JsonValue) -> dict[str, Any]:
    found = apart.run(reader, folder=folder, cancellation=context.cancellation, what=what, **order)
    text = (folder / TEXT).read_text(encoding="utf-8")
    return {name: found.get(name) for name in ("title", "pages", "metadata")} | {"text": text}


def _of_text(path: Path, value: FileValue, found: str) -> dict[str, JsonValue]:
    if (size := path.stat().st_size) > MAX_TEXT_BYTES:
        raise TaskError("too_large", f"The text has {size:,} bytes; at most {MAX_TEXT_BYTES:,} are read.")
    text = web_text.decode(path.read_bytes(), str(value.get("content_type") or ""))
    if found in (HTML, XHTML):
        page = web_text.extract(text)
        about = {"author": page.author, "date": page.date, "language": page.language}
        metadata = {name: said for name, said in about.items() if said}
        return {"text": page.text, "title": page.title, "pages": None, "metadata": metadata, "format": "html"}
    is_markdown = found == "text/markdown"
    heading = _HEADING.search(text[:100_000]) if is_markdown else None
    title = heading[1] if heading else None
    kind = "markdown" if is_markdown else "text"
    return {"text": text, "title": title, "pages": None, "metadata": {}, "format": kind}
