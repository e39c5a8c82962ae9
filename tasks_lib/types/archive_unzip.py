"""``archive.unzip``: the files in a ZIP archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import PurePosixPath
from zipfile import ZipFile

from dataflow.lib import sniffing
from dataflow.lib.errors import TaskError
from tasks_lib import zip_reading
from tasks_lib.base import Field, FileValue, JsonValue, TaskContext, TaskType
from tasks_lib.file_values import beginning

#: The most that an archive may hold.
LIMITS = zip_reading.ZipLimits(entries=1000, total=512 * 1024 * 1024, entry=512 * 1024 * 1024)

_OTHER_ARCHIVES = {f"application/{name}" for name in "gzip x-bzip2 x-xz x-7z-compressed vnd.rar zstd x-tar".split()}


class ArchiveUnzip(TaskType):
    """Unpacks a ZIP archive into files of the execution. Nothing is written by the names in it."""

    name = "archive.unzip"
    title = "Unpack a ZIP archive"
    category = "files"
    description = (
        "The files in a ZIP archive: up to 1,000 with 512 MiB together. Bombs, links, names that lead elsewhere and "
        "encrypted archives are refused."
    )
    inputs = (
        Field(name="archive", type="file", required=True, aliases=("file",), description="The ZIP archive"),
        Field(
            name="pattern",
            type="text",
            max_length=200,
            description="Only files whose path matches: `*` is any text (folders too), `?` one character, `[ab]` a set",
            example="*.csv",
        ),
    )
    outputs = (
        Field(
            name="files",
            type="list",
            description="The files, in the archive's order; each one's path in it is `metadata.path`",
        ),
        Field(name="paths", type="list", description="Their paths in the archive", example=["data/a.csv"]),
        Field(name="count", type="number", description="How many files there are", example=1),
    )
    timeout = 900.0
    example = {"archive": "fl-sample0zip", "pattern": "*"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Unpack. Raises ``validation`` for an archive that is damaged or not harmless, ``too_large`` over a limit."""
        with context.files.open(inputs["archive"]) as file:
            _require_zip(beginning(file, sniffing.HEAD))
            with zip_reading.opened(file, LIMITS) as (archive, entries):
                wanted = _matching(entries, inputs["pattern"])
                files = list(_unpacked(context, archive, wanted))
        paths = [entry.path for entry in wanted]
        return {"files": files, "paths": paths, "count": len(files)}


def _require_zip(start: bytes) -> None:
    found = sniffing.media_type(start)
    if found in _OTHER_ARCHIVES:
        raise TaskError("validation", f"Only ZIP archives are unpacked; this file is {found}.")


def _matching(entries: Sequence[zip_reading.Entry], pattern: str | None) -> Sequence[zip_reading.Entry]:
    return [entry for entry in entries if pattern is None or fnmatchcase(entry.path, pattern)]


def _unpacked(context: TaskContext, archive: ZipFile, entries: Sequence[zip_reading.Entry]) -> Iterator[FileValue]:
    """Each entry as a file of its own."""
    total = sum(entry.info.file_size for entry in entries) or 1
    done = 0
    for entry in entries:
        context.progress(done / total, entry.path)
        name = PurePosixPath(entry.path).name
        content = zip_reading.chunks(archive, entry)
        first = next(content, b"")
        metadata = {"path": entry.path}
        with context.files.create(
            name, sniffing.media_type(first[: sniffing.HEAD], name=name), metadata=metadata
        ) as file:
            for chunk in chain([first], content):
                context.cancellation.check()
                file.write(chunk)
        done += entry.info.file_size
        yield file.value | {"metadata": metadata}
