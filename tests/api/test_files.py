"""``POST /files``, ``GET /files/{id}`` and ``GET /files/{id}/content``."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from dataflow.request_body import WholeBody
from executions import files, uploads
from executions.blobs import Spool
from executions.models import Blob, StoredFile
from tests.api_client import Api, assert_problem, rows

pytestmark = pytest.mark.django_db

DATA = b"ID3\4" + bytes(range(252)) + bytes(range(256)) * 9
#: What is what its name says.
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def part(name: str, content_type: str, data: bytes = b"data", field: str = 'name="file"') -> bytes:
    """One part of a multipart body, as it stands on the wire."""
    head = f'Content-Disposition: form-data; {field}; filename="{name}"\r\nContent-Type: {content_type}\r\n\r\n'
    return b"--b\r\n" + head.encode() + data + b"\r\n"


def send(api: Api, *parts: bytes, end: bytes = b"--b--\r\n") -> Any:
    return api.raw("POST", "/files", b"".join(parts) + end, content_type="multipart/form-data; boundary=b")


def upload(api: Api, name: str = "speech.mp3", content_type: str = "audio/mpeg", data: bytes = DATA) -> Any:
    answer = send(api, part(name, content_type, data))
    assert answer.status_code == 201, answer.content
    return answer.json()


def content(api: Api, shown: Any, status: int = 200, **headers: str) -> Any:
    answer = api.raw("GET", shown["url"], **headers)
    assert answer.status_code == status
    return answer


def test_it_works(api: Api) -> None:
    answer = api.post("/files", {"file": SimpleUploadedFile("speech.mp3", DATA, "audio/mpeg")})
    assert answer.status_code == 201
    shown = answer.json()
    stored = StoredFile.objects.get()
    assert shown.items() >= {
        "file_id": stored.pk, "name": "speech.mp3", "content_type": "audio/mpeg", "size": len(DATA),
        "sha256": hashlib.sha256(DATA).hexdigest(), "url": f"/files/{stored.pk}/content",
    }.items()  # fmt: skip
    assert stored.pk.startswith("fl-")
    assert answer.headers["Location"] == f"/files/{stored.pk}"
    assert api.call("GET", f"/files/{stored.pk}", status=200) == shown
    got = content(api, shown)
    assert b"".join(got.streaming_content) == DATA
    assert got.headers["Content-Type"] == "audio/mpeg"
    assert got.headers["Content-Length"] == str(len(DATA))
    assert got.headers["ETag"] == f'"{stored.sha256}"'
    assert got.headers["Accept-Ranges"] == "bytes"


def test_twice_makes_two_files_of_one_content(api: Api) -> None:
    first, second = upload(api, "a.mp3"), upload(api, "b.mp3")
    assert first["file_id"] != second["file_id"]
    assert [first["name"], second["name"]] == ["a.mp3", "b.mp3"]
    assert Blob.objects.get().size == len(DATA)
    assert content(api, first).getvalue() == content(api, second).getvalue() == DATA


def test_a_large_one(api: Api) -> None:
    data = DATA * 1300
    assert len(data) > 3 * 2**20
    shown = upload(api, data=data)
    assert shown["size"] == len(data)
    assert b"".join(content(api, shown).streaming_content) == data


def test_an_empty_one(api: Api) -> None:
    shown = upload(api, data=b"")
    assert (shown["size"], shown["content_type"]) == (0, "application/octet-stream")
    assert upload(api, "a.csv", "", b"")["content_type"] == "text/csv"
    assert content(api, shown).getvalue() == b""
    assert_problem(content(api, shown, 416, Range="bytes=0-"), 416, "range_not_satisfiable")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=0-", 0, 2559), ("bytes=10-19", 10, 19), ("bytes=2550-9999", 2550, 2559),
     ("bytes=-5", 2555, 2559), ("bytes=-9999", 0, 2559), ("bytes=2559-", 2559, 2559), (" bytes=1-2 ", 1, 2)],
)  # fmt: skip
def test_ranges(api: Api, asked: str, first: int, last: int) -> None:
    got = content(api, upload(api), 206, Range=asked)
    assert b"".join(got.streaming_content) == DATA[first : last + 1]
    assert got.headers["Content-Range"] == f"bytes {first}-{last}/2560"
    assert got.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", ["bytes=2560-", "bytes=9999-99999", "bytes=-0", "bytes=999999999999999999-"])
def test_ranges_beyond_the_end(api: Api, asked: str) -> None:
    answer = content(api, upload(api), 416, Range=asked)
    assert_problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == "bytes */2560"


@pytest.mark.parametrize(
    "asked",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "lines=0-5", "bytes=0-1,5-6", "bytes=0-" + "9" * 30, "bytes=٠-١"],
)
def test_ranges_to_be_ignored(api: Api, asked: str) -> None:
    got = content(api, upload(api), Range=asked)
    assert got.getvalue() == DATA


def test_if_range(api: Api) -> None:
    shown = upload(api)
    same = content(api, shown, 206, Range="bytes=0-3", If_Range=f'"{shown["sha256"]}"')
    assert same.getvalue() == DATA[:4]
    for other in ('"other"', "Wed, 21 Oct 2015 07:28:00 GMT", f'W/"{shown["sha256"]}"'):
        assert content(api, shown, 200, Range="bytes=0-3", If_Range=other).getvalue() == DATA


def test_not_modified(api: Api) -> None:
    shown = upload(api)
    tag = f'"{shown["sha256"]}"'
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        got = content(api, shown, 304, If_None_Match=given)
        assert got.content == b""
        assert got.headers["ETag"] == tag
    assert content(api, shown, 200, If_None_Match='"other"').getvalue() == DATA


def test_head(api: Api) -> None:
    shown = upload(api)
    got = api.raw("HEAD", shown["url"])
    assert got.status_code == 200
    assert got.getvalue() == b""
    assert got.headers["Content-Length"] == str(len(DATA))


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "TEXT/HTML; charset=utf-8", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/xml",
     "text/javascript", "application/javascript", "application/pdf", "multipart/x-mixed-replace", "text/css",
     "application/x-shockwave-flash", "text/html,audio/mpeg", "audio/mpeg,text/html", "x", "application/mathml+xml"],
)  # fmt: skip
def test_what_a_browser_would_run_is_never_shown_in_place(api: Api, content_type: str) -> None:
    got = content(api, upload(api, "x.html", content_type, b"<script>alert(1)</script>"), Accept="text/html")
    got.getvalue()
    assert got.headers["Content-Disposition"].startswith("attachment;")
    assert not any(word in got.headers["Content-Type"].lower() for word in ("html", "svg", "javascript"))
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize(
    ("content_type", "data"),
    [("audio/mpeg", DATA), ("video/mp4", b"\0\0\0\x20ftypisom"), ("image/png", PNG), ("application/json", b"{}"),
     ("text/plain; charset=utf-8", b"some text")],
)  # fmt: skip
def test_what_is_harmless_is_shown_in_place_in_a_sandbox(api: Api, content_type: str, data: bytes) -> None:
    got = content(api, upload(api, "x", content_type, data))
    got.getvalue()
    assert got.headers["Content-Type"] == content_type
    assert got.headers["Content-Disposition"].startswith("inline;")
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in got.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "claimed", "data", "kind", "sent"),
    [
        ("cat.png", "image/png", b"<!doctype html><script>alert(1)</script>", "text/html", "application/octet-stream"),
        ("cat.png", "image/png", b"<svg onload='alert(1)'/>", "image/svg+xml", "application/octet-stream"),
        ("cat.mp3", "audio/mpeg", b"<?xml version='1.0'?><x/>", "application/xml", "application/octet-stream"),
        ("notes.txt", "text/plain", b"<html><script>alert(1)</script>", "text/html", "application/octet-stream"),
        ("a.mathml", "application/mathml+xml", b"<?xml version='1.0'?><math/>", "application/mathml+xml", "application/octet-stream"),
        ("x.js", "text/javascript", b"alert(1)", "text/javascript", "application/octet-stream"),
        ("x", "text/jscript", b"alert(1)", "text/jscript", "application/octet-stream"),
        ("x", "text/livescript", b"alert(1)", "text/livescript", "application/octet-stream"),
        ("x.css", "text/css", b"a{}", "text/css", "application/octet-stream"),
        ("notes.txt", "text/plain", b"PK\3\4" + bytes(30), "application/zip", "application/zip"),
        ("page.html", "text/html", PNG, "image/png", "image/png"),
        ("page.html", "text/html", b"GIF89a<script>alert(1)</script>", "image/gif", "image/gif"),
    ],
)  # fmt: skip
def test_what_lies_about_itself(api: Api, name: str, claimed: str, data: bytes, kind: str, sent: str) -> None:
    shown = upload(api, name, claimed, data)
    assert shown["content_type"] == kind
    got = content(api, shown, Accept="text/html,*/*")
    assert got.getvalue() == data
    assert got.headers["Content-Type"] == sent
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert got.headers["Content-Disposition"].startswith(
        "inline" if kind.startswith("image/") and sent == kind else "attachment"
    )


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "C:\\evil\\x.mp3",
        "/etc/passwd",
        "日本 ü.mp3",
        "a;b=c.mp3",
        "%0d%0aX: y.mp3",
        "x" * 400 + ".mp3",
        "a\tb.mp3",
        "-rf",
        "\u202egnp.exe",
        "<script>.mp3",
    ],
)
def test_odd_names_are_data(api: Api, name: str) -> None:
    shown = upload(api, name)
    assert 1 <= len(shown["name"]) <= 255
    assert not set(shown["name"]) & set("/\\\r\n\t\0\u202e")
    got = content(api, shown)
    assert got.getvalue() == DATA
    assert got.headers["Content-Disposition"].isascii()
    assert "X" not in got.headers
    assert re.fullmatch(r"[a-z0-9]{2}/[a-z0-9]{14}", StoredFile.objects.get().blob.name)


@pytest.mark.parametrize(
    "content_type", ["", "audio/\0mpeg", "audio/é", "audio/mpeg\x01", "a" * 500, "no type at all", ";;;"]
)
def test_odd_types(api: Api, content_type: str) -> None:
    answer = send(api, part("x.mp3", content_type))
    assert answer.status_code == 201, answer.content
    got = content(api, answer.json())
    assert got.getvalue() == b"data"
    assert got.headers["Content-Type"].isascii()


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (part("a", "text/plain"), part("b", "text/plain")),
        (part("a", "text/plain"), part("b", "text/plain", field='name="other"')),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nno file but a field\r\n',),
        (part("", "text/plain"),),
        (part("..", "text/plain"),),
        tuple(part(f"f{place}", "text/plain") for place in range(150)),
        tuple(b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nx\r\n' for _ in range(1500)),
    ],
    ids=["none", "two", "two fields", "field", "empty name", "dots", "150 files", "1500 fields"],
)
def test_not_exactly_one_file(api: Api, parts: tuple[bytes, ...]) -> None:
    before = rows()
    assert_problem(send(api, *parts), 400, "validation")
    assert rows() == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"--b\r\n\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\n\0\xff\xfe\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data; name=\"\xff\"; filename*=utf-8''%ff%00\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n--b--\r\n",
    ],
)
def test_broken_bodies(api: Api, body: bytes) -> None:
    before = rows()
    answer = api.raw("POST", "/files", body, content_type="multipart/form-data; boundary=b")
    assert_problem(answer, 400, "validation")
    assert rows() == before


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=" + "x" * 300,
        "multipart/form-data; boundary=b; charset=nope",
    ],
)
def test_broken_boundaries(api: Api, content_type: str) -> None:
    answer = api.raw("POST", "/files", part("x", "text/plain") + b"--b--\r\n", content_type=content_type)
    assert answer.status_code in (201, 400, 415)


def test_a_body_that_ends_early(api: Api) -> None:
    """What came is kept as it is: multipart does not say how much was to come, the connection does."""
    answer = send(api, part("x", "text/plain", b"data"), end=b"")
    assert answer.status_code in (201, 400)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", "audio/mpeg", "x"]
)
def test_another_type_than_multipart(api: Api, content_type: str) -> None:
    problem = assert_problem(api.raw("POST", "/files", b"{}", content_type=content_type), 415, "unsupported_media_type")
    assert "multipart/form-data" in problem["detail"]


def test_too_large_is_refused_before_it_is_read(api: Api) -> None:
    kind = "multipart/form-data; boundary=b"
    answer = api.generic("POST", "/files", b"", content_type=kind, CONTENT_LENGTH=str(600 * 2**20))
    assert_problem(answer, 413, "too_large")


@pytest.mark.parametrize("file", ["fl-unknown", "fl-", "x", "fl-A", "fl-a%00", "we-1", "fl-" + "a" * 60])
def test_unknown(api: Api, file: str) -> None:
    assert_problem(api.raw("GET", f"/files/{file}"), 404, "not_found")
    assert_problem(api.raw("GET", f"/files/{file}/content"), 404, "not_found")


def test_a_file_whose_content_is_gone(api: Api) -> None:
    shown = upload(api)
    stored = StoredFile.objects.get()
    default_storage.delete(stored.blob.name)
    assert_problem(api.raw("GET", shown["url"]), 404, "not_found")


def test_far_too_large_is_refused_anywhere(api: Api) -> None:
    kind = "multipart/form-data; boundary=b"
    for path in ("/files", "/workflows/wf-x/executions", "/admin/login/"):
        answer = api.generic("POST", path, b"x", content_type=kind, CONTENT_LENGTH=str(3 * 2**30))
        assert_problem(answer, 413, "too_large")


def test_one_that_is_too_large_leaves_nothing(api: Api, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
    before = rows()
    assert_problem(send(api, part("a.mp3", "audio/mpeg", DATA)), 413, "too_large")
    assert rows() == before
    assert not list(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir())


def test_a_connection_that_breaks_leaves_nothing(api: Api, settings: Settings) -> None:
    """As the web server reads it: tests/processes/test_files.py does the same to a real one."""
    body = part("a.mp3", "audio/mpeg", DATA * 100)
    before = rows()
    answer = api.generic(
        "POST", "/files", b"x", content_type="multipart/form-data; boundary=b", CONTENT_LENGTH=str(len(body)),
        **{"wsgi.input": WholeBody(io.BytesIO(body[:100_000]), len(body))},
    )  # fmt: skip
    assert_problem(answer, 400, "validation")
    assert rows() == before
    assert not list(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir())


def test_any_accept_gets_the_file(api: Api) -> None:
    shown = upload(api)
    for accept in ("audio/*", "text/html", "image/png;q=0.1", "x"):
        assert content(api, shown, Accept=accept).getvalue() == DATA


def test_few_queries(api: Api, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(3):
        shown = upload(api)
    with django_assert_max_num_queries(1):
        content(api, shown).getvalue()


@pytest.mark.parametrize("path", ["/secrets", "/workflows"])
def test_a_stranger_fills_no_disk(path: str, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any cookie makes Django read a form for its token, before anybody asks who sends it."""
    written: list[int] = []
    write = Spool.write
    monkeypatch.setattr(Spool, "write", lambda spool, data: (written.append(len(data)), write(spool, data))[1])
    settings.DEBUG = False
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100_000
    client = Client(enforce_csrf_checks=True, headers={"accept": "text/html", "referer": "https://testserver/"})
    client.cookies["csrftoken"] = "a" * 32
    sent = {"file": SimpleUploadedFile("a.bin", b"x" * 200_000)}
    assert client.post(path, sent, secure=True).status_code in (400, 413)
    assert not written
    client.force_login(User.objects.create_user("reader"))
    sent = {"file": SimpleUploadedFile("a.bin", b"x" * 200_000)}
    assert client.post(path, sent, secure=True).status_code == 403
    assert sum(written) == 200_000
