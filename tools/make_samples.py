"""``python -m tools.make_samples``: makes the sample files in ``tasks_lib/samples`` anew.

They are data in the repository; run this only to change one. ``executions/samples.py`` says under which ids they
are kept.
"""

from __future__ import annotations

import io
import struct
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from dataflow.lib.cancellation import Cancellation
from tasks_lib.clients import ffmpeg
from tasks_lib.clients.espeak import speak
from tasks_lib.clients.localvoice import VOICES

FOLDER = Path(__file__).resolve().parent.parent / "tasks_lib" / "samples"
SPOKEN = "Welcome. The quick brown fox jumps over the lazy dog."
TITLE = "A sample document"
LINES = (
    "This file comes with the platform, so that every example has something to work on.",
    "The quick brown fox jumps over the lazy dog.",
)
CSV = "name,city,amount\nAda,London,120\nGrace,New York,85.5\nLinus,Helsinki,42\nBarbara,Los Angeles,310\n"
#: Pixels.
WIDTH, HEIGHT = 320, 200
#: Every entry of the archives has this moment, so that the same content gives the same bytes.
_MOMENT = (2026, 1, 1, 0, 0, 0)
_TIMEOUT = 120.0

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_DOCX = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Target="word/document.xml" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>',
    "word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>'
    + "".join(f"<w:p><w:r><w:t>{line}</w:t></w:r></w:p>" for line in (TITLE, *LINES))
    + "</w:body></w:document>",
}


def main() -> int:
    """Write every sample and say how large it is."""
    with tempfile.TemporaryDirectory(prefix="samples-") as name:
        sound, video = _media(Path(name))
    made = {
        "speech.mp3": sound,
        "speech.mp4": video,
        "picture.png": _png(),
        "document.pdf": _pdf(),
        "document.docx": _zip({name: f'<?xml version="1.0" encoding="UTF-8"?>{text}' for name, text in _DOCX.items()}),
        "table.csv": CSV.encode(),
        "archive.zip": _zip({"notes.txt": "\n".join((TITLE, *LINES)) + "\n", "data/table.csv": CSV}),
    }
    FOLDER.mkdir(exist_ok=True)
    for file_name, content in made.items():
        (FOLDER / file_name).write_bytes(content)
        sys.stdout.write(f"{len(content):>8,} {file_name}\n")
    return 0


def _media(folder: Path) -> tuple[bytes, bytes]:
    """The spoken words as sound, and as a small video that says them."""
    cancellation = Cancellation(_TIMEOUT)
    spoken = speak(SPOKEN, VOICES["alloy"], 1.0)
    (folder / "samples.raw").write_bytes(spoken.samples)
    raw = ffmpeg.source(folder / "samples.raw", "-f", "s16le", "-ar", str(spoken.rate), "-ac", "1")
    plain = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    ffmpeg.run(
        [*raw, *plain, "-c:a", "libmp3lame", "-b:a", "48k", "speech.mp3"], folder=folder, cancellation=cancellation
    )
    picture = ["-f", "lavfi", "-i", "testsrc=size=320x180:rate=10"]
    shown = ["-c:v", "libx264", "-crf", "30", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "48k", "-shortest"]
    ffmpeg.run(
        [*picture, *raw, *plain, *shown, "-movflags", "+faststart", "speech.mp4"],
        folder=folder,
        cancellation=cancellation,
    )
    return (folder / "speech.mp3").read_bytes(), (folder / "speech.mp4").read_bytes()


def _png() -> bytes:
    """A sun over a field."""
    rows = (b"\0" + bytes(value for x in range(WIDTH) for value in _pixel(x, y)) for y in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pixel(x: int, y: int) -> tuple[int, int, int]:
    if (x - 230) ** 2 + (y - 60) ** 2 < 32**2:
        return 255, 205, 70
    return (70, 130 + (HEIGHT - y) // 3, 80) if y > 140 else (90 + y // 2, 160 + y // 3, 235)


def _pdf() -> bytes:
    """One page of text, by hand: a catalogue, a page, a font and what stands there."""
    shown = " ".join(f"({line}) Tj 0 -20 Td" for line in (TITLE, *LINES))
    text = f"BT /F1 11 Tf 40 780 Td {shown} ET".encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources 7 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Title ({TITLE}) >>".encode("ascii"),
        b"<< /Font << /F1 5 0 R >> >>",
    ]
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer << /Size %d /Root 1 0 R /Info 6 0 R >>" % (len(objects) + 1)
    begin = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    return body + begin + table + trailer + b"\nstartxref\n%d\n%%%%EOF\n" % len(body)


def _zip(entries: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
    return content.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
