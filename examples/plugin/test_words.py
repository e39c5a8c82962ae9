"""``words.count`` without the platform around it: the class, and of the context the one part that it uses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dataflow_words import WordsCount

from dataflow.lib.cancellation import Cancellation
from tasks_lib.checks import check_task_type

CONTEXT: Any = SimpleNamespace(cancellation=Cancellation(10))


def test_it_says_enough_about_itself() -> None:
    check_task_type(WordsCount)


def test_words_are_counted_without_regard_to_case() -> None:
    given = WordsCount().run(CONTEXT, text="One fish, two fish. Red Fish!", limit=2)
    assert given == {"words": {"fish": 3, "one": 1}, "total": 6}


def test_a_text_without_words() -> None:
    assert WordsCount().run(CONTEXT, text=" – ", limit=2) == {"words": {}, "total": 0}
