"""The text of a PDF, page by page, written to a file as it comes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pypdf import PasswordType, PdfReader
from pypdf.errors import DependencyError, LimitReachedError, PdfReadError

from dataflow.lib.errors import TaskError
from tasks_lib.apart.entry import SOURCE
from tasks_lib.apart.texts import TextFile, short

#: What a PDF says about itself, by the names that are shown.
_METADATA = {"author": "/Author", "subject": "/Subject", "keywords": "/Keywords", "creator": "/Creator",
             "producer": "/Producer", "created": "/CreationDate", "modified": "/ModDate"}  # fmt: skip


def work(order: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``SOURCE``; the text goes to ``TEXT``. ``order``: ``max_pages``, ``max_characters``."""
    logging.disable()  # it complains about every small fault
    with Path(SOURCE).open("rb") as file, TextFile(order["max_characters"]) as text:
        try:
            reader = _opened(file)
            pages = _pages(reader, order["max_pages"])
            for number in range(pages):
                text.paragraph(reader.pages[number].extract_text())
            metadata = _metadata(reader)
        except LimitReachedError as error:
            raise TaskError("too_large", f"The PDF needs more than a reader may use: {short(error)}") from error
        except RecursionError as error:
            raise TaskError("validation", "The PDF is nested without end.") from error
        return {
            "pages": pages,
            "characters": text.characters,
            "metadata": metadata,
            "title": _said(reader, "/Title") or None,
        }


def _opened(file: Any) -> PdfReader:
    reader = PdfReader(file)
    if not reader.is_encrypted:
        return reader
    try:
        opened = reader.decrypt("") != PasswordType.NOT_DECRYPTED  # many are locked against changes only
    except (DependencyError, NotImplementedError, PdfReadError) as error:
        raise TaskError("validation", f"The PDF is encrypted in a way that is not known: {short(error)}") from error
    if not opened:
        raise TaskError("validation", "The PDF is protected by a password. Save it without one and try again.")
    return reader


def _pages(reader: PdfReader, most: int) -> int:
    pages = len(reader.pages)
    if pages > most:
        raise TaskError("too_large", f"The PDF has {pages:,} pages; at most {most:,} are read.")
    if pages == 0:
        raise TaskError("validation", "The PDF has no pages.")
    return pages


def _metadata(reader: PdfReader) -> dict[str, str]:
    return {name: text for name, key in _METADATA.items() if (text := _said(reader, key))}


def _said(reader: PdfReader, key: str) -> str:
    """What the PDF says about itself under that key, empty for nothing."""
    found = reader.metadata
    value: object = found[key] if found is not None and key in found else None
    return short(value) if isinstance(value, str) else ""
