"""``rss.read``: feeds in three formats, odd and hostile ones, over a real server on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib import feeds, registry
from tests.stubs.context import StubContext, run
from tests.stubs.web_stub import Page, WebStub

READ = registry.load().types["rss.read"]
RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/"
     xmlns:media="http://search.yahoo.com/mrss/" xmlns:atom="http://www.w3.org/2005/Atom">
<channel><title>News &amp; more</title><atom:link rel="self" href="/feed.xml"/><link>https://example.com/</link>
<image><title>Logo</title><link>https://example.com/logo</link></image>
<item><media:title>Picture</media:title><title>First &lt;b&gt;bold&lt;/b&gt;</title><link>/1?a=1&amp;b=2</link>
  <guid isPermaLink="false">id-1</guid><pubDate>Mon, 23 Nov 2026 08:00:00 +0100</pubDate><dc:creator>Ann</dc:creator>
  <description><![CDATA[<p>One&nbsp;two</p><script>alert(1)</script><p>three</p>]]></description>
  <content:encoded><![CDATA[<p>The <i>whole</i> text</p>]]></content:encoded></item>
<item><title>Second</title><guid>https://example.com/2</guid><pubDate>Sun, 22 Nov 2026 08:00:00 GMT</pubDate></item>
<item><description>No title, no date</description><link>javascript:alert(1)</link></item>
</channel></rss>"""
ATOM = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://example.org/blog/">
<title type="html">A &lt;i&gt;blog&lt;/i&gt;</title><link rel="self" href="feed"/><link href="index.html"/>
<entry><title>Hello</title><id>urn:1</id><link rel="edit" href="edit"/><link rel="alternate" href="https://example.org/hello"/>
<updated>2026-11-23T10:00:00.5Z</updated><published>2026-11-22T10:00:00+02:00</published>
<author><name>Bob</name><email>bob@example.org</email></author>
<summary>Short &amp; sweet</summary>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Rich</p></div></content></entry></feed>"""
RDF = """<?xml version="1.0" encoding="ISO-8859-1"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">
<channel rdf:about="https://example.net/"><title>Café</title><link>https://example.net/</link></channel>
<item rdf:about="https://example.net/a"><title>Été</title><link>https://example.net/a</link><dc:date>2026-11-20</dc:date></item>
</rdf:RDF>""".encode("latin-1")


@pytest.fixture
def web() -> Iterator[WebStub]:
    with WebStub() as stub:
        yield stub


def read(tmp_path: Path, url: str, **inputs: Any) -> Mapping[str, Any]:
    return run(READ, StubContext(tmp_path), url=url, **inputs)


def failure(tmp_path: Path, url: str, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        read(tmp_path, url, **inputs)
    return raised.value


def parsed(text: str) -> feeds.Feed:
    return feeds.parse(text, "https://example.com/feed", most=1000)


def parsed_or_none(text: str) -> feeds.Feed | None:
    try:
        return parsed(text)
    except TaskError:
        return None


def test_it_works(web: WebStub, tmp_path: Path) -> None:
    url = web.page("/feed.xml", RSS, content_type="application/rss+xml", etag='"one"')
    outputs = read(tmp_path, url)
    assert (outputs["title"], outputs["link"]) == ("News & more", "https://example.com/")
    assert (outputs["etag"], outputs["not_modified"]) == ('"one"', False)
    assert outputs["items"] == [
        {
            "title": "First bold",
            "link": web.url("/1?a=1&b=2"),
            "id": "id-1",
            "published": "2026-11-23T07:00:00Z",
            "author": "Ann",
            "summary": "One two\nthree",
            "content": "<p>The <i>whole</i> text</p>",
        },
        {
            "title": "Second",
            "link": "https://example.com/2",
            "id": "https://example.com/2",
            "published": "2026-11-22T08:00:00Z",
            "author": None,
            "summary": None,
            "content": None,
        },
        {
            "title": None,
            "link": None,
            "id": None,
            "published": None,
            "author": None,
            "summary": "No title, no date",
            "content": "No title, no date",
        },
    ]


def test_atom(web: WebStub, tmp_path: Path) -> None:
    outputs = read(tmp_path, web.page("/atom", ATOM, content_type="application/atom+xml"))
    (item,) = outputs["items"]
    assert (outputs["title"], outputs["link"]) == ("A blog", "https://example.org/blog/index.html")
    assert (item["title"], item["link"], item["id"]) == ("Hello", "https://example.org/hello", "urn:1")
    assert (item["published"], item["author"], item["summary"]) == ("2026-11-22T08:00:00Z", "Bob", "Short & sweet")
    assert "<p>Rich</p>" in item["content"]


def test_rdf_in_the_encoding_that_it_declares(web: WebStub, tmp_path: Path) -> None:
    outputs = read(tmp_path, web.page("/rdf", RDF, content_type="application/xml"))
    assert outputs["title"] == "Café"
    (item,) = outputs["items"]
    assert (item["title"], item["link"], item["published"]) == ("Été", "https://example.net/a", "2026-11-20T00:00:00Z")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (RSS.replace("News &amp; more", "Grüße").replace("UTF-8", "nonsense").encode(), "text/xml"),
        (b"\xef\xbb\xbf" + RSS.replace("News &amp; more", "Grüße").encode(), "text/xml"),
        (RSS.replace("News &amp; more", "Grüße").replace("UTF-8", "utf-16").encode("utf-16"), "text/xml"),
        (RSS.replace("News &amp; more", "Grüße").encode("latin-1"), "text/xml; charset=iso-8859-1"),
        (("\n  " + RSS.replace("News &amp; more", "Gr&uuml;&szlig;e")).encode(), "text/plain"),
    ],
)
def test_encodings(data: bytes, kind: str, web: WebStub, tmp_path: Path) -> None:
    assert read(tmp_path, web.page("/feed", data, content_type=kind))["title"] == "Grüße"


def test_the_limit_and_the_time(web: WebStub, tmp_path: Path) -> None:
    url = web.page("/feed.xml", RSS, content_type="text/xml")
    assert [item["title"] for item in read(tmp_path, url, limit=1)["items"]] == ["First bold"]
    newer = read(tmp_path, url, since="2026-11-22T10:00:00+01:00")["items"]
    assert [item["title"] for item in newer] == ["First bold", None]
    error = failure(tmp_path, url, since="yesterday")
    assert error.code == "validation"
    assert "since" in error.message


def test_a_feed_that_has_not_changed(web: WebStub, tmp_path: Path) -> None:
    url = web.script("/feed.xml", [Page(status=304, headers={"ETag": '"one"'})])
    outputs = read(tmp_path, url, etag='"one"')
    assert (outputs["items"], outputs["not_modified"], outputs["etag"]) == ([], True, '"one"')
    assert web.requests[0].headers["if-none-match"] == '"one"'


def test_a_page_is_no_feed_but_may_name_one(web: WebStub, tmp_path: Path) -> None:
    page = '<!doctype html><html><head><link rel="alternate" type="application/rss+xml" href="/feed.xml"></head></html>'
    error = failure(tmp_path, web.page("/", page))
    assert (error.code, error.retryable) == ("output_invalid", False)
    assert web.url("/feed.xml") in error.message


@pytest.mark.parametrize(
    "body", ["", "not a feed", '{"items": []}', "<svg/>", "<", "\0", "<?xml", "<!--", "<?xml version='1.0'?>"]
)
def test_what_is_no_feed(body: str, web: WebStub, tmp_path: Path) -> None:
    assert failure(tmp_path, web.page("/feed", body, content_type="text/xml")).code == "output_invalid"


def test_failures_of_the_server(web: WebStub, tmp_path: Path) -> None:
    gone, busy = failure(tmp_path, web.url("/nowhere")), failure(tmp_path, web.url("/status?code=503&retry_after=7"))
    assert (gone.code, gone.retryable) == ("communication", False)
    assert (busy.retryable, busy.retry_after) == (True, 7)
    assert failure(tmp_path, web.url("/bomb?mib=20")).code == "too_large"


def test_inside_addresses_are_refused(web: WebStub, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as raised:
        run(READ, StubContext(tmp_path, allow_loopback=False), url=web.url("/feed.xml"))
    assert raised.value.code == "blocked_address"


BILLION = "<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))


@pytest.mark.parametrize(
    "prolog",
    [
        f"<!DOCTYPE rss [{BILLION}]>",
        "<!DOCTYPE rss [<!ENTITY a9 SYSTEM 'file:///etc/passwd'>]>",
        "<?xml version='1.0'?><!-- > --><?pi >?><!doctype rss [<!ENTITY % a9 SYSTEM 'http://127.0.0.1/x'> %a9;]>",
        '<!DOCTYPE rss PUBLIC "a>b" "c" [<!ENTITY a9 "x">]>',
        "<!DOCTYPE rss SYSTEM '>' [<!ENTITY a9 'x'>]>",
        "<!DOCTYPE rss SYSTEM \"> [<!ENTITY a9 SYSTEM 'file:///etc/passwd'>]>",
    ],
)
def test_entities_are_refused(prolog: str) -> None:
    document = f"{prolog}<rss><channel><title>t&a9;</title><item a='&a9;'><title>&a9;</title></item></channel></rss>"
    with pytest.raises(TaskError, match="entities of its own"):
        parsed(document)


def test_a_plain_document_type_is_harmless_and_nothing_is_fetched(web: WebStub) -> None:
    feed = parsed(f'<!DOCTYPE rss PUBLIC "-//x" "{web.url("/rss.dtd")}">{RSS[RSS.index("<rss") :]}')
    assert feed.title == "News & more"
    assert web.requests == []


def test_a_post_about_entities_is_read() -> None:
    feed = parsed(
        "<rss><channel><item><title><![CDATA[<!DOCTYPE x [<!ENTITY a 'b'>]>]]></title></item></channel></rss>"
    )
    assert len(feed.items) == 1


@pytest.mark.parametrize(
    "body",
    [
        "<a>" * 100_000,
        "<item>" * 100_000,
        "<item><title>" + "<" * 300_000,
        "<!--" * 300_000,
        "<item><description>" + "&lt;!-- " * 500_000 + "</description></item>",
        "<item><description>" + "&lt;div&gt;" * 300_000 + "</description></item>",
        "<item><title>" + "&" * 500_000 + "</title></item>",
        "<item><link>" + "x" * 500_000 + "</link><guid>" + "y" * 500_000 + "</guid></item>",
        "<item " + " ".join(f"a{n}='x'" for n in range(100_000)) + "/>",
        "<item><title>x</title></item>" * 100_000,
    ],
)
@pytest.mark.timeout(20)
def test_hostile_feeds_are_bounded(body: str) -> None:
    """Each is read within its time, or refused; the result is small whatever came in."""
    feed = parsed_or_none(f"<rss><channel>{body}</channel></rss>")
    assert feed is None or len(feed.items) <= 1000
    assert len(str(feed)) < 2 * feeds.MAX_CONTENT


def test_a_feed_that_is_too_long() -> None:
    with pytest.raises(TaskError) as raised:
        parsed("<rss>" + " " * feeds.MAX_FEED)
    assert raised.value.code == "too_large"


def test_a_broken_feed_gives_what_it_has() -> None:
    feed = parsed("<rss><channel><title>AT&T</title><item><title>One</title><b></item><item><title>Two</title>")
    assert [item.title for item in feed.items][:1] == ["One"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Mon, 23 Nov 2026 08:00:00 GMT", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("23 Nov 2026 08:00 EST", datetime(2026, 11, 23, 13, tzinfo=UTC)),
        (" 2026-11-23T08:00:00.123Z ", datetime(2026, 11, 23, 8, 0, 0, 123000, tzinfo=UTC)),
        ("2026-11-23t08:00:00+02:00", datetime(2026, 11, 23, 6, tzinfo=UTC)),
        ("2026-11-23 08:00:00", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("Mon, 99 Nov 2026 08:00:00 GMT", None),
        ("soon", None),
        ("", None),
        ("9" * 10_000, None),
    ],
)
def test_dates(text: str, moment: datetime | None) -> None:
    assert feeds.read_date(text) == moment
