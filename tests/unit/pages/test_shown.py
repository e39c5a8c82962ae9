"""The pure parts of pages: timeline, durations, sizes, advice, digests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dataflow.lib.errors import TASK_ERROR_CODES
from dataflow.templatetags import pages
from executions.advice import ADVICE
from executions.timeline import timeline_of

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def attempt(number, begins, ends, status="FAILED"):
    end = None if ends is None else START + timedelta(seconds=ends)
    return {"number": number, "status": status, "started_at": START + timedelta(seconds=begins), "completed_at": end}


def task(*attempts, status="COMPLETED"):
    return {"name": "a", "status": status, "started_at": START, "completed_at": None, "attempts": list(attempts)}


def bars(*attempts, seconds=10, growing=False):
    drawn = timeline_of([task(*attempts)], start=START, end=START + timedelta(seconds=seconds), growing=growing)
    return [(bar.x, bar.width, bar.kind, bar.open) for bar in drawn.rows[0].bars]


def test_one_bar_for_each_try_and_a_gap_between():
    assert bars(attempt(1, 0, 2), attempt(2, 5, 6, "COMPLETED")) == [
        (0, 2000, "failed", False),
        (2000, 3000, "gap", False),
        (5000, 1000, "completed", False),
    ]


def test_a_gap_says_what_was_waited_for():
    def titles(*resumed):
        tries = (attempt(1, 0, 1), attempt(2, 2, 3, "COMPLETED"), attempt(3, 4, 5), attempt(4, 8, 9, "COMPLETED"))
        moments = [START + timedelta(seconds=seconds) for seconds in resumed]
        drawn = timeline_of(
            [task(*tries)], start=START, end=START + timedelta(seconds=9), growing=False, resumed=moments
        )
        return [bar.title for bar in drawn.rows[0].bars if bar.kind == "gap"]

    by_hand = "the execution had ended, until somebody resumed it"
    assert titles() == ["waits for the next try", "waits", "waits for the next try"]
    assert titles(6) == ["waits for the next try", "waits", by_hand]
    assert titles(1.5, 7) == [by_hand, "waits", by_hand]


def test_a_running_try_reaches_to_the_right_edge_and_grows():
    assert bars(attempt(1, 4, None, "RUNNING"), growing=True) == [(4000, 6000, "running", True)]


def test_nothing_is_narrower_than_a_millisecond_or_left_of_the_edge():
    assert bars(attempt(1, -1, -1)) == [(0, 1, "failed", False)]
    assert timeline_of([], start=START, end=START, growing=False).total == 1


def test_a_task_without_tries_has_no_bars():
    assert bars() == []


def test_scale_goes_from_nothing_to_the_whole():
    drawn = timeline_of([], start=START, end=START + timedelta(seconds=8), growing=False)
    assert drawn.scale == [(0.0, 0.0), (0.25, 2.0), (0.5, 4.0), (0.75, 6.0), (1.0, 8.0)]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.3404, "340 ms"),
        (1.44, "1.4 s"),
        (59.9, "59 s"),
        (125, "2 min 5 s"),
        (3780, "1 h 3 min"),
        (None, "–"),
    ],
)
def test_durations_have_units(seconds, shown):
    assert pages.duration(seconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**2, "5.0 MiB"), (3 * 1024**3, "3.0 GiB")],
)
def test_sizes_have_units(size, shown):
    assert pages.byte_size(size) == shown


def test_times_are_machine_readable():
    assert pages.when(START) == (
        '<time datetime="2026-11-23T08:00:00.000Z" data-show="relative">23 Nov 2026, 08:00:00 UTC</time>'
    )
    assert pages.when("2026-11-23T10:00:00+02:00", "clock").endswith(">08:00:00 UTC</time>")
    assert pages.when("<b>") == "–"
    assert pages.when(None) == "–"


def test_a_file_is_only_what_looks_like_one_in_full():
    assert pages.is_file({"file_id": "fl-1", "content_type": "audio/mpeg"})
    assert not pages.is_file({"file_id": 1, "content_type": "audio/mpeg"})
    assert not pages.is_file(["fl-1"])


def test_ids_of_elements_are_harmless():
    assert pages.dom_id('a" onload="x') == "a--onload--x"


def test_backticks_make_code_and_the_rest_is_escaped():
    assert pages.coded("a <b> `x<y` c") == "a &lt;b&gt; <code>x&lt;y</code> c"


def test_there_is_advice_for_every_code_and_no_other():
    assert set(ADVICE) == TASK_ERROR_CODES
