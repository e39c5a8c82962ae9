"""Reads ZIP archives that nobody vouches for: everything that can be known is checked before anything comes out.

Names are data: nothing here writes to a path. ``zipfile`` never gives more of an entry than its directory says, so the
sizes that are checked beforehand hold; what comes out is counted all the same.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, LargeZipFile, ZipFile, ZipInfo

from dataflow.lib.errors import TaskError

#: Bytes of the directory at the end of an archive; a thousand entries need a tenth of it.
MAX_DIRECTORY = 2 * 1024 * 1024
#: Characters of an entry's name, and folders in it.
MAX_PATH, MAX_DEPTH = 1024, 64
#: An archive that gives more than this many times its size is a bomb, if it gives much at all.
MAX_RATIO, RATIO_COUNTS_FROM = 200, 16 * 1024 * 1024
_CHUNK = 256 * 1024
_ENCRYPTED = 0x1
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: What ``zipfile`` raises for odd archives: ``RuntimeError`` and ``ValueError`` for odd values, too.
_DAMAGED = (BadZipFile, LargeZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipLimits:
    """The most that an archive may hold."""

    entries: int = 1000
    #: Bytes of all entries together, and of one.
    total: int = 512 * 1024 * 1024
    entry: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive; ``path`` is its name with ``/`` between folders."""

    path: str
    info: ZipInfo


@contextmanager
def opened(file: IO[bytes], limits: ZipLimits) -> Iterator[tuple[ZipFile, Sequence[Entry]]]:
    """An archive and the files in it, which are within ``limits`` and harmless by name and kind.

    Raises ``TaskError``: ``validation`` for what is no archive, damaged, encrypted, or names what it must not,
    ``too_large`` over the limits.
    """
    with _told():
        archive = ZipFile(_Bounded(file))
    with archive:
        with _told():
            entries = _checked(archive, file, limits)
        yield archive, entries


def chunks(archive: ZipFile, entry: Entry) -> Iterator[bytes]:
    """The content of an entry, some of it at a time. Raises ``validation`` where it is not what the directory says."""
    size = 0
    with _told():
        content = archive.open(entry.info)
    with content:
        while True:
            with _told():
                chunk = content.read(_CHUNK)
            if not chunk:
                return
            size += len(chunk)
            if size > entry.info.file_size:
                raise TaskError("too_large", f"`{entry.path}` is larger than the archive says; it is not unpacked.")
            yield chunk


@contextmanager
def _told() -> Iterator[None]:
    """What ``zipfile`` raises for an archive that is not in order, as a ``TaskError``."""
    try:
        yield
    except _DAMAGED as error:
        raise TaskError("validation", f"The archive is damaged, or no ZIP archive: {error}.") from error


class _Bounded:
    """A file of which little is read at once: zipfile reads a directory as large as the archive says it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size if 0 <= size <= MAX_DIRECTORY else MAX_DIRECTORY + 1)
        if len(data) > MAX_DIRECTORY:
            raise _too_large(f"its directory is larger than {MAX_DIRECTORY:,} bytes")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _checked(archive: ZipFile, file: IO[bytes], limits: ZipLimits) -> Sequence[Entry]:
    infos = archive.infolist()
    if len(infos) > limits.entries:
        raise _too_large(f"it has {len(infos):,} entries; at most {limits.entries:,} are unpacked")
    entries = [Entry(_path(info), info) for info in infos if not info.filename.endswith("/")]
    _require_sizes([entry.info for entry in entries], limits)
    seen: set[str] = set()
    for entry in entries:
        _require_harmless(entry)
        if entry.path in seen:
            raise _refused(entry.path, "is in it twice")
        seen.add(entry.path)
    _require_apart(file, infos, archive.start_dir)
    return entries


def _require_sizes(infos: Sequence[ZipInfo], limits: ZipLimits) -> None:
    total = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if total > limits.total:
        raise _too_large(f"its files have {total:,} bytes together; at most {limits.total:,} are unpacked")
    if largest := max((info.file_size for info in infos if info.file_size > limits.entry), default=0):
        raise _too_large(f"one of its files has {largest:,} bytes; at most {limits.entry:,} are unpacked")
    if total > RATIO_COUNTS_FROM and total > MAX_RATIO * max(packed, 1):
        raise _too_large(f"it would grow to {total // max(packed, 1):,} times its size, as only a bomb does")


def _path(info: ZipInfo) -> str:
    """The name as it was written: ``zipfile`` ends it at a NUL, and some programs of Windows write backslashes."""
    written = info.orig_filename.replace("\\", "/")
    kept = "/".join(part for part in written.split("/") if part not in ("", "."))
    return f"/{kept}" if written.startswith("/") else kept


def _require_harmless(entry: Entry) -> None:
    path, info = entry.path, entry.info
    parts = path.split("/")
    if _CONTROL.search(path) or not path.strip():
        raise _refused(path, "has no name, or control characters in it")
    if path.startswith("/") or (path[0].isalpha() and path[1:2] == ":"):
        raise _refused(path, "names a place outside of it")
    if ".." in parts:
        raise _refused(path, "leads out of its folder by `..`")
    if len(path) > MAX_PATH or len(parts) > MAX_DEPTH:
        raise _refused(path, f"has a name of over {MAX_PATH:,} characters or {MAX_DEPTH} folders")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise _refused(path, "is a link or a device, not a file")
    if info.flag_bits & _ENCRYPTED:
        raise _refused(path, "is encrypted: give an archive without a password")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise _refused(path, f"is packed by method {info.compress_type}; only stored and deflated ones are read")


def _require_apart(file: IO[bytes], infos: Sequence[ZipInfo], end: int) -> None:
    """No two entries may share bytes: a bomb gives the same data a thousand times. ``zipfile`` of 3.11.7 lets it."""
    place = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < 0 or info.header_offset + info.compress_size > end:
            raise BadZipFile(f"{_path(info)!r} lies outside of it")
        if info.header_offset < place:
            raise _refused(_path(info), "shares its bytes with another, as only a bomb does")
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
            raise BadZipFile(f"there is no entry where {_path(info)!r} should begin")
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        place = info.header_offset + len(header) + name_length + extra_length + info.compress_size
    if place > end:
        raise BadZipFile("its last entry runs into the directory")


def _refused(path: str, why: str) -> TaskError:
    return TaskError("validation", f"The archive is refused, and nothing was unpacked: the entry {path[:200]!r} {why}.")


def _too_large(why: str) -> TaskError:
    return TaskError("too_large", f"The archive is refused, and nothing was unpacked: {why}.")
