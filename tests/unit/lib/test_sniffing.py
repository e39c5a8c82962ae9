"""What a file is: its content decides, a name and a sender only choose among what the content can be."""

from __future__ import annotations

import io
import json
import struct
import wave
import zipfile

import pytest

from dataflow.lib.sniffing import HEAD, TAIL, media_type, type_of_name

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
ODT = "application/vnd.oasis.opendocument.text"
UNKNOWN = "application/octet-stream"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
NOISE = bytes(range(256)) * 4


def archive(*names: str, first: bytes = b"") -> bytes:
    """A ZIP archive with these entries; ``first`` is that of an entry ``mimetype``, stored."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        if first:
            packed.writestr(zipfile.ZipInfo("mimetype"), first)
        for name in names:
            packed.writestr(name, bytes(10))
    return made.getvalue()


def sound() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(100))
    return made.getvalue()


def told(content: bytes, name: str = "", claimed: str = "") -> str:
    return media_type(content[:HEAD], name=name, claimed=claimed, tail=content[HEAD:][-TAIL:])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"GIF89a\1\0\1\0", "image/gif"),
        (b"RIFF\4\0\0\0WEBPVP8 ", "image/webp"),
        (b"II*\0\10\0\0\0", "image/tiff"),
        (b"BM" + bytes(12) + struct.pack("<I", 40) + bytes(40), "image/bmp"),
        (b"\0\0\1\0\1\0", "image/vnd.microsoft.icon"),
        (b"\0\0\0\x1cftypavif" + bytes(20), "image/avif"),
        (b"\0\0\0\x1cftypheic" + bytes(20), "image/heic"),
        (b"\0\0\0\x20ftypisom" + bytes(20), "video/mp4"),
        (b"\0\0\0\x20ftypM4A " + bytes(20), "audio/mp4"),
        (b"\0\0\0\x14ftypqt  " + bytes(20), "video/quicktime"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "video/webm"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", "video/x-matroska"),
        (b"RIFF\4\0\0\0AVI LIST", "video/x-msvideo"),
        (b"FLV\x01\x05", "video/x-flv"),
        ((b"G" + bytes(187)) * 4, "video/mp2t"),
        (b"OggS\0\2" + bytes(22) + b"\x80theora", "video/ogg"),
        (b"OggS\0\2" + bytes(22) + b"OpusHead", "audio/ogg"),
        (b"ID3\4\0\0\0\0\0\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x64" + bytes(20), "audio/mpeg"),
        (b"\xff\xf1\x50\x80" + bytes(20), "audio/aac"),
        (sound(), "audio/wav"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"FORM\0\0\0\4AIFF", "audio/aiff"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "application/pdf"),
        (archive("a.txt"), "application/zip"),
        (archive(), "application/zip"),
        (archive("[Content_Types].xml", "word/document.xml"), DOCX),
        (archive("[Content_Types].xml", "xl/workbook.xml"), XLSX),
        (archive("[Content_Types].xml", "ppt/presentation.xml"), PPTX),
        (archive("content.xml", first=ODT.encode()), ODT),
        (archive("a", first=b"application/epub+zip"), "application/epub+zip"),
        (archive("a", first=b"text/html"), "application/zip"),
        (archive("META-INF/MANIFEST.MF"), "application/java-archive"),
        (b"\x1f\x8b\x08\0", "application/gzip"),
        (b"7z\xbc\xaf\x27\x1c\0", "application/x-7z-compressed"),
        (b"Rar!\x1a\x07\1\0", "application/vnd.rar"),
        (b"a.txt".ljust(257, b"\0") + b"ustar\x0000", "application/x-tar"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20), "application/x-ole-storage"),
        (b"{\\rtf1\\ansi", "application/rtf"),
        (b"SQLite format 3\0", "application/vnd.sqlite3"),
        (b"PAR1\x15\0", "application/vnd.apache.parquet"),
        (b"wOF2\0\1\0\0", "font/woff2"),
        (b"\x7fELF\2\1\1", "application/x-elf"),
        (b"#EXTM3U\nfile:///etc/passwd", "application/vnd.apple.mpegurl"),
        (b"\xef\xbb\xbf<!DOCTYPE HTML><p>x", "text/html"),
        (b"<!-- a --> <!-- b -->\n<html lang=en>", "text/html"),
        (b"  <script>alert(1)</script>", "text/html"),
        ("<html>é".encode("utf-16"), "text/html"),
        # The byte order mark and letters with high bits: no frame of sound.
        ("\ufeff\u4e94\u5341".encode("utf-16-le"), "text/plain"),
        (b'<?xml version="1.0"?><!-- x --><svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x"><svg/>', "image/svg+xml"),
        (b"<x:svg xmlns:x='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b'<?xml version="1.0"?><rss/>', "application/xml"),
        (b'{"a": [1, "\\u0000", tru', "application/json"),
        (b' [1, 2.5e3, {"x": null}]\n', "application/json"),
        (b'{"a": 1}\n{"a": 2}\n', "application/x-ndjson"),
        (b"[1] A footnote", "text/plain"),
        (b"[x](http://example.com)", "text/plain"),
        (b"{{template}}", "text/plain"),
        (b"a,b\n1,2\n", "text/plain"),
        ("Grüße, Welt".encode(), "text/plain"),
        (b"\0\1\2\3", UNKNOWN),
        (NOISE, UNKNOWN),
        ("Grüße".encode("latin-1"), UNKNOWN),
        (b"", UNKNOWN),
    ],
)  # fmt: skip
def test_content_alone(content: bytes, kind: str) -> None:
    assert told(content) == kind


@pytest.mark.parametrize(
    ("content", "name", "claimed", "kind"),
    [
        # What agrees is believed.
        (b"a,b\n1,2\n", "table.csv", "", "text/csv"),
        (b"a,b\n1,2\n", "table", "text/csv; charset=UTF-8", "text/csv; charset=utf-8"),
        (b"a\tb\n", "table.tsv", "application/octet-stream", "text/tab-separated-values"),
        (b"# Title\n", "read.md", "", "text/markdown"),
        (b"<p align=center>\n# Title\n", "read.md", "", "text/markdown"),
        (b"<title>x</title>", "notes.txt", "", "text/plain"),
        (b"a: 1\n", "x.yaml", "", "application/yaml"),
        (b"WEBVTT\n\n", "x.vtt", "", "text/vtt"),
        (b"1\n00:00 --> 00:01\n", "x.srt", "", "application/x-subrip"),
        (b'{"type": "Feature"}', "x.geojson", "", "application/geo+json"),
        (b'{"a": 1}\n', "x.jsonl", "", "application/x-ndjson"),
        (b'"only a text', "x.json", "", "application/json"),
        (b"12.5", "x", "application/json", "application/json"),
        (b'<?xml version="1.0"?><rss/>', "x", "application/rss+xml", "application/rss+xml"),
        (b'<!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">', "x.xhtml", "", "application/xhtml+xml"),
        ("Grüße".encode("latin-1"), "x.txt", "text/plain; charset=iso-8859-1", "text/plain; charset=iso-8859-1"),
        (b"\x1aE\xdf\xa3\x9fB\x82\x84webm", "x.webm", "audio/webm", "audio/webm"),
        (b"\0\0\0\x20ftypisom" + bytes(20), "x.m4a", "", "audio/mp4"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old.doc", "", "application/msword"),
        (NOISE, "x", "application/x-measurements", "application/x-measurements"),
        (NOISE, "solid.stl", "", "model/stl"),
        (b"", "empty.csv", "", "text/csv"),
        (b"", "x", "application/json", "application/json"),
        # What does not is not.
        (b"<!doctype html><script>alert(1)</script>", "cat.png", "image/png", "text/html"),
        (b"<!doctype html><p>x", "x.md", "text/markdown", "text/html"),
        (b"<svg onload=alert(1)>", "cat.png", "image/png", "image/svg+xml"),
        (b"<svg onload=alert(1)>", "cat.txt", "text/plain", "image/svg+xml"),
        (archive("a"), "notes.txt", "text/plain", "application/zip"),
        (archive("a"), "letter.docx", DOCX, "application/zip"),
        (archive("a", "[Content_Types].xml", "word/x"), "a.zip", "application/zip", DOCX),
        (PNG, "x.html", "text/html", "image/png"),
        (PNG, "x.jpg", "image/jpeg", "image/png"),
        (b"MZ\x90\0\3\0\0\0", "x.png", "image/png", UNKNOWN),
        (NOISE, "x.mp3", "audio/mpeg", UNKNOWN),
        (NOISE, "x.html", "text/html", UNKNOWN),
        (NOISE, "x.pdf", "application/pdf", UNKNOWN),
        (NOISE, "x.docx", DOCX, UNKNOWN),
        (NOISE, "x", "multipart/x-mixed-replace", UNKNOWN),
        (b"plain words", "x.json", "application/json", "text/plain"),
        (b"plain words", "x.svg", "image/svg+xml", "text/plain"),
        (b"plain words", "x.png", "image/png", "text/plain"),
        (b"#EXTM3U\n", "x.mp4", "video/mp4", "application/vnd.apple.mpegurl"),
        (b"", "x.png", "image/png", UNKNOWN),
        (b"", "x.mp3", "", UNKNOWN),
        # Several things at once: the beginning decides, which is what a browser goes by.
        (b"GIF89a/*" + b"<script>alert(1)</script>" + archive("a"), "x.html", "text/html", "image/gif"),
        (b"%PDF-1.4\n<html><script>alert(1)</script>", "x.html", "text/html", "application/pdf"),
        (b"<html>%PDF-1.4", "x.pdf", "application/pdf", "text/html"),
        (b"\xff\xd8\xff\xe0" + NOISE * 40 + archive("a"), "x.jar", "application/java-archive", "image/jpeg"),
        # A claim that is none.
        (b"plain", "x", "text/plain\r\nX: y", "text/plain"),
        (b"plain", "x", "text/plain; charset=\"x'y\"", "text/plain"),
        (NOISE, "x", "no type at all", UNKNOWN),
        (NOISE, "x", "a/" + "b" * 500, UNKNOWN),
    ],
)  # fmt: skip
def test_names_and_claims(content: bytes, name: str, claimed: str, kind: str) -> None:
    assert told(content, name, claimed) == kind


def test_what_is_cut_off_in_a_character_is_still_a_text() -> None:
    text = "€" * HEAD
    assert told(text.encode()) == "text/plain"
    assert told(json.dumps({"a": text}, ensure_ascii=False).encode()) == "application/json"


def test_a_directory_far_from_the_beginning_is_found() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        packed.writestr("[Content_Types].xml", NOISE * 400)
        packed.writestr("word/document.xml", b"x")
    assert told(made.getvalue()) == DOCX


@pytest.mark.parametrize("text", ["<!--" * 3000, "<?" * 5000, "[" * 9000, '["' * 4000, "<!doctype " * 900, " " * 8192])
def test_hostile_beginnings_take_no_time(text: str) -> None:
    """Linear: ten times the length in ten times the time, and these took minutes if they were not."""
    assert told(text.encode() * 10)


def test_names() -> None:
    assert type_of_name("Talk.MP3") == "audio/mpeg"
    assert type_of_name("a.tar.gz") == UNKNOWN
    assert type_of_name("noname") == UNKNOWN
