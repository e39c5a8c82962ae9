"""``document.extract_text``: what documents say, and that hostile ones do no harm."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

import tasks_lib
from dataflow.lib.errors import TaskError
from tasks_lib.types import document_extract_text
from tasks_lib.types.document_extract_text import DocumentExtractText
from tests.stubs import hostile_files as hostile
from tests.stubs.context import StubContext, run

STRICT = b'<w:document xmlns:w="http://purl.oclc.org/ooxml/wordprocessingml/main"><w:body/></w:document>'


def extract(folder: Path, data: bytes, name: str = "document", content_type: str = ""):
    context = StubContext(folder)
    outputs = run(DocumentExtractText(), context, file=context.files.add(name, content_type, data))
    assert set(outputs) == {field.name for field in DocumentExtractText.outputs}
    return outputs


def refusal(folder: Path, data: bytes, name: str = "document") -> TaskError:
    with pytest.raises(TaskError) as raised:
        extract(folder, data, name)
    assert not raised.value.retryable
    return raised.value


def test_a_pdf(tmp_path: Path) -> None:
    assert extract(tmp_path, hostile.pdf("Hello, World!", "", "The end", title="A title"), "x.txt") == {
        "text": "Hello, World!\n\nThe end", "title": "A title", "pages": 3, "metadata": {"author": "Ann Lee"}, "format": "pdf",
    }  # fmt: skip


def test_a_pdf_that_only_its_owner_may_change(tmp_path: Path) -> None:
    assert extract(tmp_path, hostile.pdf("open to all", password="owner"))["text"] == "open to all"


def test_a_pdf_with_something_before_it(tmp_path: Path) -> None:
    assert extract(tmp_path, b"\0\0\0mail\r\n" + hostile.pdf("late"))["text"] == "late"


def test_a_pdf_that_lies_about_its_pages(tmp_path: Path) -> None:
    outputs = extract(tmp_path, hostile.claiming_pdf())
    assert (outputs["text"], outputs["pages"]) == ("only one", 1)


@pytest.mark.parametrize(
    ("make", "code", "why"),
    [
        (lambda: hostile.pdf("x", password="o", user_password="u"), "validation", "protected by a password"),
        (lambda: hostile.pdf("", ""), "validation", "no text layer"),
        (lambda: hostile.pdf("x")[:200], "validation", "damaged"),
        (lambda: b"%PDF-1.7\n" + bytes(1000), "validation", "damaged"),
        (hostile.looping_pdf, "validation", "cyclic"),
        (lambda: hostile.nested_pdf(100_000), "validation", "nested without end"),
        (lambda: hostile.many_pages_pdf(2001), "too_large", "2,001 pages"),
        (lambda: hostile.many_pages_pdf(200_000), "too_large", "more than a reader may use"),
        pytest.param(lambda: hostile.pdf_bomb(300), "too_large", "more than a reader may use", marks=pytest.mark.slow),
        (lambda: hostile.raw_pdf([], count=0), "validation", "no pages"),
    ],
    ids=["password", "scan", "cut", "zeros", "loop", "nested", "pages", "list", "bomb", "empty"],
)
def test_pdfs_that_are_refused(tmp_path: Path, make: Callable[[], bytes], code: str, why: str) -> None:
    error = refusal(tmp_path, make())
    assert (error.code, why in error.message) == (code, True), error.message


def test_a_word_document(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading("Cats", 1)
    document.add_paragraph("They sleep.\tA lot.")
    table = document.add_table(2, 2)
    for place, text in enumerate(("name", "age", "Tom", "3 years")):
        table.cell(place // 2, place % 2).text = text
    table.cell(1, 1).add_table(1, 1).cell(0, 0).text = "inside"
    document.add_heading("Dogs", 2)
    document.add_paragraph("")
    document.add_paragraph("They bark.")
    document.core_properties.title, document.core_properties.author = "Animals", "Ann Lee"
    target = io.BytesIO()
    document.save(target)
    outputs = extract(tmp_path, target.getvalue(), "x.pdf")
    assert outputs["text"] == "Cats\n\nThey sleep.\tA lot.\n\nname\tage\nTom\t3 years inside\n\nDogs\n\nThey bark."
    assert (outputs["title"], outputs["pages"], outputs["format"]) == ("Animals", None, "docx")
    assert outputs["metadata"]["author"] == "Ann Lee"


def test_a_word_document_that_says_nothing_of_itself(tmp_path: Path) -> None:
    outputs = extract(tmp_path, (Path(tasks_lib.__file__).parent / "samples" / "document.docx").read_bytes())
    assert (outputs["title"], outputs["metadata"]) == (None, {})


def test_what_word_keeps_in_special_places(tmp_path: Path) -> None:
    """Content controls, tracked changes, links, text boxes."""
    document = docx.Document()
    for inner in (
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>control</w:t></w:r></w:p></w:sdtContent></w:sdt>",
        "<w:p><w:r><w:t>kept </w:t></w:r><w:ins><w:r><w:t>added</w:t></w:r></w:ins><w:del><w:r><w:t>gone</w:t></w:r></w:del></w:p>",
        "<w:p><w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink><w:r><w:br/><w:t>next line</w:t></w:r></w:p>",
        "<w:p><w:r><w:t>before</w:t><w:pict><w:txbxContent><w:p><w:r><w:t>box</w:t></w:r></w:p></w:txbxContent></w:pict></w:r></w:p>",
    ):
        made = parse_xml(f"<w:body {nsdecls('w')}>{inner}</w:body>")
        for element in list(made):
            document.element.body.append(element)
    target = io.BytesIO()
    document.save(target)
    assert extract(tmp_path, target.getvalue())["text"] == "control\n\nkept added\n\nlink\nnext line\n\nbefore\nbox"


@pytest.mark.parametrize(
    ("make", "code", "why"),
    [
        (hostile.word_with_entities, "validation", "has a document type"),
        (lambda: hostile.word_with_entities("outside"), "validation", "has a document type"),
        (lambda: hostile.word_with_entities(encoding="utf-16"), "validation", "has a document type"),
        pytest.param(lambda: hostile.word_bomb(201), "too_large", "bytes together", marks=pytest.mark.slow),
        (lambda: hostile.word_bomb(30), "too_large", "as only a bomb does"),
        (lambda: hostile.deep_word(1000), "validation", "XML"),
        (lambda: hostile.word_with("word/document.xml", b"<a>"), "validation", "XML"),
        (lambda: hostile.word_with("[Content_Types].xml", b"<a/>"), "validation", ""),
        (lambda: hostile.word_with("../../evil", b"x"), "validation", "leads out"),
        (lambda: hostile.word("x")[:-50], "validation", "damaged"),
        (lambda: hostile.zip_of({"word/document.xml": b"<a/>"}), "validation", "no Word document"),
        (lambda: hostile.word_with("word/document.xml", b"<a/>"), "validation", "usual form"),
        (lambda: hostile.word_with("word/document.xml", STRICT), "validation", "usual form"),
        (lambda: hostile.zip_of({"a.txt": b"x"}), "validation", "archive.unzip"),
        (lambda: hostile.zip_of({"xl/workbook.xml": b"x"}), "validation", "an Excel workbook"),
        (lambda: hostile.zip_of({"ppt/a.xml": b"x"}), "validation", "a PowerPoint presentation"),
    ],
    ids="laughs outside utf16 bomb ratio deep xml types traversal cut bare other strict zip excel slides".split(),
)
def test_word_documents_that_are_refused(tmp_path: Path, make: Callable[[], bytes], code: str, why: str) -> None:
    error = refusal(tmp_path, make(), "x.docx")
    assert (error.code, why in error.message) == (code, True), error.message
    assert "root:" not in error.message


def test_a_word_document_with_more_xml_than_is_read(tmp_path: Path) -> None:
    """It packs badly, so it is no bomb."""
    text = random.Random(1).randbytes(11 * hostile.MEBIBYTE).hex().encode()
    assert "bytes of XML" in refusal(tmp_path, hostile.word_with("word/more.xml", text, level=1)).message


@pytest.mark.parametrize(
    ("data", "name", "text", "title", "kind"),
    [
        (b"<!doctype html><title>T</title><p>Hello</p>", "x.pdf", "Hello", "T", "html"),
        (b"# Cats #\n\nThey *sleep*.\n", "x.md", "# Cats #\n\nThey *sleep*.\n", "Cats", "markdown"),
        (b"no heading\n## second\n", "x.md", "no heading\n## second\n", None, "markdown"),
        (b"# Not a heading", "x.txt", "# Not a heading", None, "text"),
        ("naïve".encode("latin-1"), "x.txt", "naïve", None, "text"),
        ("naïve".encode("latin-1"), "", "naïve", None, "text"),
        ("naïve".encode("utf-16"), "", "naïve", None, "text"),
        (b'{"a": 1}', "x.json", '{"a": 1}', None, "text"),
        (b"hello", "x.docx", "hello", None, "text"),
    ],
)
def test_texts(tmp_path: Path, data: bytes, name: str, text: str, title: str | None, kind: str) -> None:
    outputs = extract(tmp_path, data, name)
    assert (outputs["text"], outputs["title"], outputs["format"], outputs["pages"]) == (text, title, kind, None)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (hostile.claiming_png(5, 5), "image/png"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "Save it as DOCX"),
        (b"{\\rtf1 hello}", "Save it as DOCX"),
        (bytes(range(256)), "application/octet-stream"),
    ],
)
def test_what_is_no_document(tmp_path: Path, data: bytes, why: str) -> None:
    error = refusal(tmp_path, data, "x.pdf")
    assert (error.code, why in error.message) == ("validation", True), error.message


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_extract_text, "MAX_CHARACTERS", 10)
    for make in (hostile.pdf, hostile.word):
        assert extract(tmp_path, make("12345", "67890"))["text"] == "12345\n\n67890"
        error = refusal(tmp_path, make("12345", "678901"))
        assert (error.code, "more than 10 characters" in error.message) == ("too_large", True)
    monkeypatch.setattr(document_extract_text, "MAX_TEXT_BYTES", 10)
    assert refusal(tmp_path, b"x" * 11).code == "too_large"
    monkeypatch.setattr(document_extract_text, "MAX_BYTES", 10)
    assert refusal(tmp_path, b"%PDF-1.7" + bytes(10)).code == "too_large"
