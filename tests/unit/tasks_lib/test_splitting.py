"""Splitting long texts, and putting transcripts in parts together."""

from __future__ import annotations

import time

import pytest

from tasks_lib.splitting import split_text
from tasks_lib.subtitles import as_srt, as_vtt, shifted


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("", 10, []),
        (" \n ", 10, []),
        ("short", 10, ["short"]),
        ("One two. Three four.", 12, ["One two.", "Three four."]),
        ("One. Two. Three.", 11, ["One. Two.", "Three."]),
        ("Pi is 3.14 or so. Yes.", 18, ["Pi is 3.14 or so.", "Yes."]),
        ('He said "Go." She went.', 15, ['He said "Go."', "She went."]),
        ("no marks at all here", 10, ["no marks", "at all", "here"]),
        ("x" * 25, 10, ["x" * 10, "x" * 10, "x" * 5]),
        ("今日は。元気です。はい。", 9, ["今日は。元気です。", "はい。"]),
        ("line one\nline two\n", 10, ["line one", "line two"]),
        ("What? No! Yes... ok", 9, ["What?", "No!", "Yes... ok"]),
    ],
)
def test_split(text: str, limit: int, parts: list[str]) -> None:
    assert split_text(text, limit) == parts


@pytest.mark.parametrize("piece", ["a", ".", ". ", "a. ", "\n", '."', "a.", "。", " ", "word "])
def test_nothing_is_lost_and_no_part_is_too_long(piece: str) -> None:
    text = (piece * 200_000)[:200_000]
    started = time.perf_counter()
    parts = split_text(text, 4096)
    assert time.perf_counter() - started < 3
    assert all(0 < len(part) <= 4096 for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_shifted() -> None:
    moved = shifted([{"id": 7, "start": 0.5, "end": 1.0, "text": "a"}, {"text": "b"}], 60, 3)
    assert moved == [
        {"id": 3, "start": 60.5, "end": 61.0, "text": "a"},
        {"id": 4, "start": 60.0, "end": 60.0, "text": "b"},
    ]


def test_subtitles() -> None:
    segments = [{"start": 0, "end": 1.5, "text": " Hello "}, {"start": 3661.0004, "end": 3662.9996, "text": "a --> b"}]
    assert as_srt(segments) == ("1\n00:00:00,000 --> 00:00:01,500\nHello\n\n2\n01:01:01,000 --> 01:01:03,000\na -> b\n")
    assert as_vtt(segments) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello\n\n01:01:01.000 --> 01:01:03.000\na -> b\n"
    )
