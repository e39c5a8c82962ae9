"""What a file is, by its content. What a name or a sender says is only believed where the content agrees with it.

A table of our own: the libraries at hand know hundreds of formats by two or three bytes, tell no text from another, and
some read the whole file. This reads the first and last kilobytes, and where nothing is certain it says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from mimetypes import MimeTypes

from dataflow.lib.text_kinds import TEXTS, text_of, text_type

#: Bytes of the beginning that are looked at; of a ZIP archive as many of the end hold its directory.
HEAD, TAIL = 8 * 1024, 64 * 1024
UNKNOWN = "application/octet-stream"
ZIP, OLE, PDF, TAR = "application/zip", "application/x-ole-storage", "application/pdf", "application/x-tar"

_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_SLIDES = "application/vnd.openxmlformats-officedocument.presentationml.presentation"

#: Where, which bytes, what. The first that fits counts.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"\0\0\1\0", "image/vnd.microsoft.icon"),
    (0, b"8BPS\0", "image/vnd.adobe.photoshop"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (0, b"%PDF-", PDF),
    (0, b"%!PS", "application/postscript"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"PK\x03\x04", ZIP),
    (0, b"PK\x05\x06", ZIP),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (257, b"ustar", TAR),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (0, b"ID3", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"MThd\0\0\0\x06", "audio/midi"),
    (0, b"\x1aE\xdf\xa3", "video/x-matroska"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (0, b"\0\0\x01\xba", "video/mpeg"),
    (0, b"\0\0\x01\xb3", "video/mpeg"),
    (0, b"#EXTM3U", "application/vnd.apple.mpegurl"),
    (0, b"wOF2", "font/woff2"),
    (0, b"wOFF", "font/woff"),
    (0, b"OTTO\0", "font/otf"),
    (0, b"\0\1\0\0\0", "font/ttf"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
    (0, b"\0asm", "application/wasm"),
    (0, b"\x7fELF", "application/x-elf"),
    (0, b"\xca\xfe\xba\xbe", "application/java-vm"),
)
#: After the length and the name of a chunk: ``RIFF????WEBP``, ``FORM????AIFF``, ``????ftypheic``.
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_FORM = {b"AIFF": "audio/aiff", b"AIFC": "audio/aiff"}
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic",
           b"mif1": "image/heic", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"qt  ": "video/quicktime"}  # fmt: skip
_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
#: What the content leaves open, and a name or a sender may say more exactly.
_MAY_BE = {
    "video/mp4": re.compile(r"(audio|video)/(mp4|3gpp2?|x-m4v)|video/quicktime"),
    "video/webm": re.compile(r"audio/webm"),
    "video/x-matroska": re.compile(r"audio/x-matroska"),
    "audio/ogg": re.compile(r"video/ogg|application/ogg"),
    OLE: re.compile(r"application/(msword|vnd\.(ms-(excel|powerpoint|outlook|project)|visio)|x-ms-?i(nstaller)?)"),
    ZIP: re.compile(r"application/vnd\.google-earth\.kmz|application/x-xpinstall|model/3mf"),
    _WORD: re.compile(r"application/vnd\.(openxmlformats-officedocument\.wordprocessingml|ms-word)\.[\w.+]+"),
    _SHEET: re.compile(r"application/vnd\.(openxmlformats-officedocument\.spreadsheetml|ms-excel\.)[\w.+]+"),
    _SLIDES: re.compile(r"application/vnd\.(openxmlformats-officedocument\.presentationml|ms-powerpoint\.)[\w.+]+"),
}
#: Other names of what is told by its bytes: nothing without those bytes is that, whatever it is called.
_SURE = re.compile(
    r"image/(jpg|pjpeg|x-png|x-icon|apng|heif|x-ms-bmp)|audio/(mp3|x-mp3|x-wav|wave|vnd\.wave|x-flac|opus|aac|mp4a-latm|x-m4a"
    r"|x-aiff|webm|x-matroska)|video/(ogg|3gpp2?|x-m4v|mp2t)|application/(x-pdf|x-zip-compressed|x-gzip|x-rar-compressed|ogg"
    r"|msword|vnd\.ms-|vnd\.openxmlformats|vnd\.oasis|epub\+zip|java-archive|vnd\.android|x-sqlite3|x-shockwave-flash)"
)
_KINDS = frozenset({kind for _, _, kind in _MAGIC} | {*_RIFF.values(), *_FORM.values(), *_BRANDS.values()})
_MORE_KINDS = frozenset({"video/mp4", "video/webm", "image/bmp", "video/mp2t", "audio/aac"})
_PACKAGE = re.compile(rb"application/(epub\+zip|vnd\.oasis\.opendocument\.[a-z.-]{1,60})")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)
_CHARSET = re.compile(r";\s*charset=\"?([\w.:-]{1,40})\"?\s*(?:;|$)", re.IGNORECASE | re.ASCII)

# Without the lists of this machine: a name means the same everywhere.
_NAMES = MimeTypes(filenames=())
for _ending, _kind in {
    ".md": "text/markdown", ".yaml": "application/yaml", ".yml": "application/yaml", ".toml": "application/toml",
    ".jsonl": "application/x-ndjson", ".ndjson": "application/x-ndjson", ".geojson": "application/geo+json",
    ".ipynb": "application/x-ipynb+json", ".srt": "application/x-subrip", ".vtt": "text/vtt", ".log": "text/plain",
    ".ini": "text/plain", ".ics": "text/calendar", ".vcf": "text/vcard", ".sql": "application/sql",
    ".rss": "application/rss+xml", ".atom": "application/atom+xml", ".ts": "text/plain", ".wav": "audio/wav",
    ".m4a": "audio/mp4", ".opus": "audio/ogg", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".flac": "audio/flac",
    ".epub": "application/epub+zip", ".parquet": "application/vnd.apache.parquet", ".mkv": "video/x-matroska",
    ".xhtml": "application/xhtml+xml", ".stl": "model/stl", ".docx": _WORD, ".xlsx": _SHEET, ".pptx": _SLIDES,
    ".odt": "application/vnd.oasis.opendocument.text",
}.items():  # fmt: skip
    _NAMES.add_type(_kind, _ending)


def type_of_name(name: str) -> str:
    """The media type that the ending of a name stands for; ``application/octet-stream`` for none."""
    kind, packed = _NAMES.guess_type(name)
    return UNKNOWN if kind is None or packed else kind


def media_type(head: bytes, *, name: str = "", claimed: str = "", tail: bytes = b"") -> str:
    """The media type of content with this beginning (``HEAD`` bytes of it; an archive's ``TAIL`` too).

    ``claimed`` is what the sender says, ``name`` what the file is called: both choose only among what the content can
    be. A text keeps the charset that was claimed for it. Empty content is a text if it is called one.
    """
    hints = [hint for hint in (_bare(claimed), type_of_name(name)) if hint not in ("", UNKNOWN)]
    found = _by_magic(head)
    if found:
        return _more_exactly(_inside(found, head, tail), hints)
    text = text_of(head, is_hinted=any(TEXTS.fullmatch(hint) for hint in hints))
    if text is None:
        return next((hint for hint in hints if _can_be_unknown(hint)), UNKNOWN)
    kind = text_type(text, hints)
    charset = _CHARSET.search(claimed)
    keeps = charset is not None and (kind == _bare(claimed))
    return f"{kind}; charset={charset[1].lower()}" if keeps and charset is not None else kind


def _bare(claimed: str) -> str:
    bare = claimed.partition(";")[0].strip().lower()
    return bare if _MEDIA_TYPE.fullmatch(bare) else ""


def _more_exactly(found: str, hints: Iterable[str]) -> str:
    pattern = _MAY_BE.get(found)
    return next((hint for hint in hints if pattern is not None and pattern.fullmatch(hint)), found)


def _can_be_unknown(hint: str) -> bool:
    """Whether bytes that say nothing may be what the hint says: a kind that we could neither confirm nor deny."""
    is_sure = hint in _KINDS or hint in _MORE_KINDS or _SURE.match(hint) is not None
    return not (is_sure or TEXTS.fullmatch(hint) or hint.startswith(("multipart/", "message/")))


def _by_magic(head: bytes) -> str:
    for place, magic, found in _MAGIC:
        if head.startswith(magic, place):
            return found
    if head[:4] in (b"RIFF", b"FORM"):
        return (_RIFF if head[:4] == b"RIFF" else _FORM).get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return "image/bmp"
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "video/mp2t"
    return _frames(head)


def _frames(head: bytes) -> str:
    """A stream of MPEG audio frames without a container, by its first header."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return ""
    layer, rate, frequency = head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac"
    # Layer I (3) is nowhere to be met, and looks like the byte order mark of UTF-16.
    is_good = head[1] & 0x18 != 0x08 and layer in (1, 2) and rate not in (0, 15) and frequency != 3
    return "audio/mpeg" if is_good else ""


def _inside(found: str, head: bytes, tail: bytes) -> str:
    """What is in the container."""
    if found == ZIP:
        return _in_zip(head, head + tail)
    if found == "video/x-matroska" and b"webm" in head[:64]:
        return "video/webm"
    if found == "audio/ogg" and b"\x80theora" in head[:512]:
        return "video/ogg"
    return found


def _in_zip(head: bytes, both: bytes) -> str:
    if head[30:38] == b"mimetype" and (package := _PACKAGE.match(head, 38)):
        return package[0].decode()
    if b"[Content_Types].xml" in both:
        for folder, kind in ((b"word/", _WORD), (b"xl/", _SHEET), (b"ppt/", _SLIDES)):
            if folder in both:
                return kind
    if b"AndroidManifest.xml" in both:
        return "application/vnd.android.package-archive"
    return "application/java-archive" if b"META-INF/MANIFEST.MF" in both else ZIP
