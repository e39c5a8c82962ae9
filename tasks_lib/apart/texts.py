"""The text that a reader finds, written as it comes and counted."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from dataflow.lib.errors import TaskError

#: Name of the text in the private folder.
TEXT = "text.txt"
#: Characters of a title, of one piece of metadata, of what a library complains of.
_SHORT = 500


class TextFile:
    """``TEXT`` in the current folder, of at most ``most`` characters. Paragraphs are apart by an empty line."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._file = Path(TEXT).open("w", encoding="utf-8", errors="replace", newline="\n")  # noqa: SIM115  closed below
        self.characters = 0

    def paragraph(self, text: str) -> None:
        """Add a page or a paragraph; one without text is left out."""
        self._add(text.strip("\n\r "), "\n\n")

    def line(self, text: str) -> None:
        """Add a line right below what is there."""
        self._add(text, "\n")

    def _add(self, text: str, before: str) -> None:
        if not text.strip():
            return
        self.characters += len(text)
        if self.characters > self._most:
            raise TaskError("too_large", f"The document has more than {self._most:,} characters of text.")
        self._file.write(f"{before}{text}" if self._file.tell() else text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def short(value: object) -> str:
    """A text of one line that is fit to be shown."""
    return " ".join(str(value).split())[:_SHORT]
