"""What a page says, without what surrounds it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dataflow.lib.errors import TaskError
from tasks_lib import registry
from tasks_lib.web_text import MAX_HTML, Favour, extract
from tests.stubs.context import StubContext, run

EXAMPLE = """<!doctype html><html lang="en-GB"><head><title>Example Domain</title><style>body{color:red}</style></head>
<body><div><h1>Example Domain</h1><p>This domain is for use in documentation.</p>
<p><a href="https://iana.org">Learn more</a></p></div><script>track()</script></body></html>"""

ARTICLE = """<html lang="en"><head><title>Cats at home</title><meta name="author" content="Ann Lee">
<meta property="article:published_time" content="2026-02-03T10:00:00Z"></head><body>
<nav><ul><li><a href="/">Home page</a></li><li><a href="/about">About us</a></li></ul></nav>
<article><h1>Cats at home</h1>{}</article>
<aside class="ad">Buy our food now</aside><div class="cookie-banner">We use cookies</div>
<script>alert("tracking")</script><footer>Copyright by somebody</footer></body></html>"""
LONG = ARTICLE.format(
    "".join(f"<p>Cat number {n} sleeps a lot and hunts mice in the fields at night.</p>" for n in range(40))
)
SHORT = ARTICLE.format("<p>A cat sleeps.</p>")


def test_the_task_type(tmp_path: Path) -> None:
    outputs = run(registry.load().types["web.extract_text"], StubContext(tmp_path), html=LONG)
    assert outputs["text"].count("Cat number") == 40
    assert {name: outputs[name] for name in ("title", "language", "author", "date")} == {
        "title": "Cats at home", "language": "en", "author": "Ann Lee", "date": "2026-02-03",
    }  # fmt: skip


@pytest.mark.parametrize("html", [LONG, SHORT])
@pytest.mark.parametrize("favour", ["balanced", "precision", "recall"])
def test_what_surrounds_is_left_out(html: str, favour: Favour) -> None:
    text = extract(html, favour).text
    assert "Cat" in text
    for noise in ("Home page", "About us", "Buy our food", "cookies", "tracking", "Copyright", "<p>"):
        assert noise not in text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (EXAMPLE, "Example Domain\nThis domain is for use in documentation.\nLearn more"),
        ("<html><body><h1>Hello</h1><p>World</p></body></html>", "Hello\nWorld"),
        ("<p>One</p><p>Two</p>", "One\nTwo"),
        ("<b>bold</b> words", "bold words"),
        ("just text", "just text"),
        ("a < b and c > d", "a < b and c > d"),
        ("<html><head><title>Only a title</title></head><body></body></html>", "Only a title"),
        ("<nav><a href='/'>Home</a></nav>", "Home"),
        ("<footer>The end</footer>", "The end"),
        ('<?xml version="1.0" encoding="latin1"?><html><body><p>é</p></body></html>', "é"),
        ("<p>null \0 and \ud800 half</p>", "null and ? half"),
        ("<ul><li>a<li>b</ul>", "a\nb"),
        ("<p>x &amp; y &lt;z&gt;</p>", "x & y <z>"),
        ("", ""),
        ("   ", ""),
        ("<!-- only a comment -->", ""),
        ("<script>x()</script>", ""),
        ("<p>shown</p><!-- hidden -->", "shown"),
    ],
)
def test_small_pages_give_all_their_text(html: str, text: str) -> None:
    assert extract(html).text == text


def test_what_a_page_does_not_say_is_null() -> None:
    page = extract("<p>Hello</p>")
    assert (page.title, page.language, page.author, page.date) == (None, None, None, None)


def test_a_page_that_is_too_long() -> None:
    with pytest.raises(TaskError) as raised:
        extract("x" * (MAX_HTML + 1))
    assert raised.value.code == "too_large"


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 400_000 + "deep inside",
        "<" * 1_000_000,
        "<a " * 500_000,
        "<div " + "a=b " * 500_000 + ">x",
        "<table><tr><td>" * 50_000 + "cell",
        "<p>" + "\n" * 2_000_000 + "x",
        "<!--" * 300_000,
        "&amp;" * 400_000 + "<p>",
    ],
)
def test_hostile_pages_end_soon(html: str) -> None:
    started = time.perf_counter()
    extract(html)
    assert time.perf_counter() - started < 10


def test_nothing_is_fetched_or_expanded() -> None:
    entity = '<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY y "yyyy">]><html><body><p>&x;&y; text</p></body></html>'
    assert "root:" not in extract(entity).text
