"""Files that are meant to do harm, made by hand: archives, PDFs, Word documents and images."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping

import docx
import pypdf
from PIL import Image

MEBIBYTE = 1024 * 1024


def zip_of(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An ordinary archive, whatever the names in it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return target.getvalue()


def zip_bomb(mebibytes: int) -> bytes:
    """One entry of zeros, and an honest directory."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as entry:
        for _ in range(mebibytes):
            entry.write(bytes(MEBIBYTE))
    return target.getvalue()


def stored_zip(mebibytes: int) -> bytes:
    """Honest: one entry of noise, as large as it looks."""
    target = io.BytesIO()
    noise = random.Random(1).randbytes(MEBIBYTE)
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("noise", "w") as one,
    ):
        for _ in range(mebibytes):
            one.write(noise)
    return target.getvalue()


def lying_zip(mebibytes: int) -> bytes:
    """As ``zip_bomb``, but the directory says that it has 1,000 bytes."""
    bomb = zip_bomb(mebibytes)
    return bomb.replace(struct.pack("<L", mebibytes * MEBIBYTE), struct.pack("<L", 1000))


def entry(name: bytes, content: bytes, *, offset: int, method: int = 0, size: int | None = None, flags: int = 0,
          mode: int = 0, crc: int | None = None) -> tuple[bytes, bytes]:  # fmt: skip
    """A local header with its content, and the line in the directory that points to ``offset``."""
    common = struct.pack(
        "<HHHHHLLLHH", 20, flags, method, 0, 33, zlib.crc32(content) if crc is None else crc, len(content),
        len(content) if size is None else size, len(name), 0,
    )  # fmt: skip
    local = b"PK\3\4" + common + name + content
    central = b"PK\1\2" + struct.pack("<BB", 20, 3) + common + struct.pack("<HHHLL", 0, 0, 0, mode << 16, offset) + name
    return local, central


def archive(locals_: bytes, centrals: list[bytes], *, directory_size: int | None = None) -> bytes:
    """Entries and their directory put together."""
    directory = b"".join(centrals)
    size = len(directory) if directory_size is None else directory_size
    count = min(len(centrals), 0xFFFF)
    return locals_ + directory + b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, count, count, size, len(locals_), 0)


def zip_with(name: bytes = b"a", content: bytes = b"x", **how: int) -> bytes:
    """An archive with one entry, odd in one way."""
    local, central = entry(name, content, offset=0, **how)
    return archive(local, [central])


def symlink_zip() -> bytes:
    """A link to a file of the system."""
    return zip_with(b"link", b"/etc/passwd", mode=stat.S_IFLNK | 0o777)


def overlapping_zip(copies: int) -> bytes:
    """Many entries that all point to the same kernel of a mebibyte of zeros, each quoting the next's header."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = packer.compress(bytes(MEBIBYTE)) + packer.flush()
    local, central = entry(b"0000", kernel, offset=0, method=8, size=MEBIBYTE, crc=zlib.crc32(bytes(MEBIBYTE)))
    return archive(local, [central.replace(b"0000", b"%04d" % number) for number in range(copies)])


def wide_zip(entries: int) -> bytes:
    """A directory of so many entries, without any of them."""
    line = entry(b"abcd", b"", offset=0)[1]
    return archive(entry(b"abcd", b"", offset=0)[0], [line] * entries)


def pdf(*pages: str, title: str | None = None, password: str | None = None, user_password: str = "") -> bytes:
    """A PDF with a text on each page."""
    streams = [f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET".encode("latin-1") if text else b"" for text in pages]
    writer = pypdf.PdfWriter(io.BytesIO(raw_pdf(streams)))
    if title is not None:
        writer.add_metadata({"/Title": title, "/Author": "Ann Lee"})
    if password is not None:
        writer.encrypt(user_password, password, algorithm="AES-256")
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def raw_pdf(streams: list[bytes], *, filters: str = "", kids: str | None = None, count: int | None = None) -> bytes:
    """A PDF whose pages have these content streams."""
    numbers = [4 + 2 * place for place in range(len(streams))]
    listed = kids if kids is not None else " ".join(f"{number} 0 R" for number in numbers)
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: f"<</Type/Pages/Kids[{listed}]/Count {len(streams) if count is None else count}>>".encode(),
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    }
    for number, stream in zip(numbers, streams, strict=True):
        about = f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Resources<</Font<</F1 3 0 R>>>>/Contents {number + 1} 0 R>>"
        objects[number] = about.encode()
        objects[number + 1] = f"<</Length {len(stream)}{filters}>>stream\n".encode() + stream + b"\nendstream"
    return _assembled(objects)


def _assembled(objects: Mapping[int, bytes]) -> bytes:
    data, places = b"%PDF-1.7\n", {}
    for number, content in objects.items():
        places[number] = len(data)
        data += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % places[number] for number in sorted(places))
    size = max(places) + 1
    return data + b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        size, table, size, len(data),
    )  # fmt: skip


def looping_pdf() -> bytes:
    """The list of pages is in itself."""
    return raw_pdf([b""], kids="2 0 R 2 0 R")


def many_pages_pdf(pages: int) -> bytes:
    """One page, named so many times."""
    return raw_pdf([b"BT /F1 12 Tf (x) Tj ET"], kids="4 0 R " * pages, count=pages)


def claiming_pdf() -> bytes:
    """One page that says it is a billion."""
    return raw_pdf([b"BT /F1 12 Tf 50 700 Td (only one) Tj ET"], count=1_000_000_000)


def pdf_bomb(mebibytes: int) -> bytes:
    """A page whose content is spaces, packed twice."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * MEBIBYTE) for _ in range(mebibytes)) + packer.flush()
    return raw_pdf([zlib.compress(packed, 9)], filters="/Filter[/FlateDecode/FlateDecode]")


def nested_pdf(depth: int) -> bytes:
    """Lists in lists."""
    return raw_pdf([b"[" * depth + b"]" * depth + b" TJ"])


def word(*paragraphs: str, title: str = "") -> bytes:
    """An ordinary Word document."""
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    document.core_properties.title = title
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def word_with(part: str, content: bytes, level: int = 6) -> bytes:
    """A Word document of which one part is replaced, or that has one more."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(word("x"))) as given,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as made,
    ):
        for name in given.namelist():
            if name != part:
                made.writestr(name, given.read(name))
        made.writestr(part, content)
    return target.getvalue()


def word_with_entities(kind: str = "laughs", encoding: str = "utf-8") -> bytes:
    """A Word document that defines entities: a billion laughs, or a file of the system."""
    if kind == "laughs":
        lines = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
        declared, used = f'<!ENTITY l0 "laughs">{lines}', "&l9;"
    else:
        declared, used = '<!ENTITY secret SYSTEM "file:///etc/passwd">', "&secret;"
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = f'<w:document xmlns:w="{space}"><w:body><w:p><w:r><w:t>{used}</w:t></w:r></w:p></w:body></w:document>'
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [{declared}]>{body}'
    return word_with("word/document.xml", text.encode(encoding))


def word_bomb(mebibytes: int) -> bytes:
    """A Word document with spaces where the text should be."""
    return word_with("word/document.xml", b" " * mebibytes * MEBIBYTE)


def wide_word(mebibytes: int) -> bytes:
    """A Word document of many small elements, which take much more memory than text."""
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    inner = "".join(f"<w:p><w:r><w:t>{number}</w:t></w:r></w:p>" for number in range(mebibytes * MEBIBYTE // 40))
    return word_with(
        "word/document.xml", f'<w:document xmlns:w="{space}"><w:body>{inner}</w:body></w:document>'.encode()
    )


def deep_word(depth: int) -> bytes:
    """A Word document of content controls in content controls."""
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    inner = "<w:sdt><w:sdtContent>" * depth + "<w:p/>" + "</w:sdtContent></w:sdt>" * depth
    return word_with(
        "word/document.xml", f'<w:document xmlns:w="{space}"><w:body>{inner}</w:body></w:document>'.encode()
    )


def claiming_png(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and has next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def picture(
    kind: str, size: tuple[int, int] = (64, 32), mode: str = "RGB", colour: object = "red", **how: object
) -> bytes:
    """An image of one colour."""
    target = io.BytesIO()
    Image.new(mode, size, colour).save(target, kind, **how)
    return target.getvalue()


def gif(frames: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A moving GIF; frame ``n`` is grey, ``40 * n % 256``."""
    made = [Image.new("L", size, 40 * n % 256) for n in range(frames)]
    target = io.BytesIO()
    made[0].save(target, "GIF", save_all=True, append_images=made[1:], duration=50, loop=0)
    return target.getvalue()
