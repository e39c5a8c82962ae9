"""``archive.zip``: files put into one ZIP archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, FileValue, JsonValue, TaskContext, TaskType
from tasks_lib.file_values import CHUNK, given_file, name_of

#: Files of an archive, bytes of them together (up to here no entry needs ZIP64), and characters of a name in it.
MAX_FILES, MAX_TOTAL, MAX_NAME = 1000, 2**31 - 1, 1024
#: The earliest date that the format knows. The same files give the same archive, whenever it is made.
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16
_UNIX = 3


class ArchiveZip(TaskType):
    """Puts files into one ZIP archive; the same files give the same archive, byte for byte."""

    name = "archive.zip"
    title = "Make a ZIP archive"
    category = "files"
    description = "Puts up to 1,000 files into one ZIP archive. Files of the same name get a number."
    inputs = (
        Field(
            name="files",
            type="list",
            required=True,
            description='The files: outputs of other tasks, `"fl-…"`, or `{"url": "https://…"}`',
            example=["fl-sample0csv", "fl-sample0pdf"],
        ),
        Field(
            name="names",
            type="list",
            description="Their names in the archive, in the same order, with folders if wanted; else their own",
            example=["data/table.csv", "text.pdf"],
        ),
        Field(name="name", type="text", default="archive.zip", max_length=200, description="Name of the archive"),
    )
    outputs = (
        Field(name="archive", type="file", description="The archive"),
        Field(name="count", type="number", description="How many files are in it", example=2),
    )
    timeout = 900.0
    example = {"files": ["fl-sample0csv", "fl-sample0pdf"], "names": ["data/table.csv", "text.pdf"]}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Pack. Raises ``validation`` for what is no file or no name, ``too_large`` over a limit."""
        files = _files(context, inputs["files"])
        names = _distinct(_names(files, inputs["names"]))
        with context.files.create(inputs["name"], "application/zip") as stored:
            _pack(context, _Sink(stored.write), list(zip(names, files, strict=True)))
        return {"archive": stored.value, "count": len(files)}


class _Sink:
    """All of a file that ``zipfile`` needs to write an archive from the front to the back."""

    def __init__(self, write: object) -> None:
        self.write = write

    def flush(self) -> None:
        """Nothing is held back."""


def _files(context: TaskContext, given: Sequence[JsonValue]) -> list[FileValue]:
    if not given:
        raise TaskError("validation", "`files` is empty: an archive needs at least one file.")
    if len(given) > MAX_FILES:
        raise TaskError("too_large", f"`files` has {len(given):,} files; at most {MAX_FILES:,} go into an archive.")
    return [given_file(context, value, f"files[{place}]") for place, value in enumerate(given)]


def _names(files: Sequence[FileValue], given: Sequence[JsonValue] | None) -> Iterator[str]:
    if given is None:
        yield from (name_of(value) for value in files)
        return
    if len(given) != len(files):
        raise TaskError("validation", f"`names` has {len(given)} names for {len(files)} files; give one for each.")
    for place, name in enumerate(given):
        if not isinstance(name, str) or not (kept := _safe(name)):
            raise TaskError("validation", f"`names[{place}]` is no name for a file in an archive: {name!r:.200}.")
        yield kept


def _safe(name: str) -> str:
    """A relative path with ``/``, empty for what cannot be one."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    harmless = ".." not in parts and name.isprintable() and ":" not in name[:2] and len(name) <= MAX_NAME
    return "/".join(parts) if harmless else ""


def _distinct(names: Iterator[str]) -> Iterator[str]:
    """The names, numbered where one comes again, also in other letters: many systems tell no case apart."""
    taken: set[str] = set()
    for name in names:
        path = PurePosixPath(name)
        number, free = 1, name
        while free.lower() in taken:
            number += 1
            free = str(path.with_name(f"{path.stem} ({number}){path.suffix}"))
        taken.add(free.lower())
        yield free


def _pack(context: TaskContext, sink: _Sink, files: Sequence[tuple[str, FileValue]]) -> None:
    left = MAX_TOTAL
    with ZipFile(sink, "w") as archive:  # type: ignore[call-overload]  # a file as far as it is written
        for place, (name, value) in enumerate(files):
            context.progress(place / len(files), name)
            info = ZipInfo(name, _DATE)
            info.compress_type, info.external_attr, info.create_system = ZIP_DEFLATED, _MODE, _UNIX
            with context.files.open(value) as file, archive.open(info, "w") as entry:
                left -= _copied(context, file, entry, left)


def _copied(context: TaskContext, file: IO[bytes], entry: IO[bytes], most: int) -> int:
    size = 0
    while chunk := file.read(CHUNK):
        context.cancellation.check()
        size += len(chunk)
        if size > most:
            raise TaskError("too_large", f"The files have more than {MAX_TOTAL:,} bytes together.")
        entry.write(chunk)
    return size
