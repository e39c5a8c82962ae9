"""What is taken out of text and JSON, in which forms, and what stays."""

from __future__ import annotations

import base64
import html
import json
import logging
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest

from dataflow.lib.mask import MASK
from dataflow.logs import LineFormatter, RequestIdFilter
from executions.redaction import NOTHING, SHORTEST, Redactor, remember

pytestmark = pytest.mark.any_database

#: With characters that every encoding writes otherwise.
SECRET = "sk-cänary/+&<\"x'>?= 7"
SURROUNDED = [f"{before}{SECRET}{after}".encode() for before in ("", "a", "ab", "user:") for after in ("", "z", "zz")]


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        f"Bearer {SECRET}, and {SECRET}",
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower(),
        urlencode({"q": SECRET}),
        json.dumps({"a": SECRET}),
        json.dumps({"a": SECRET}, ensure_ascii=False),
        json.dumps(json.dumps({"a": SECRET})),
        json.dumps(SECRET).replace("/", "\\/"),
        html.escape(SECRET),
        html.escape(SECRET, quote=False),
        repr(SECRET),
        *(base64.b64encode(data).decode() for data in SURROUNDED),
        *(base64.urlsafe_b64encode(data).decode().rstrip("=") for data in SURROUNDED),
        *(quote(base64.b64encode(data).decode(), safe="") for data in SURROUNDED),
    ],
)
def test_every_form_is_masked(form: str) -> None:
    masked = Redactor([SECRET]).text(f"before {form} after")
    assert MASK in masked
    assert "before" in masked
    assert "after" in masked
    for trace in (
        "cänary",
        "c\\u00e4nary",
        "c%C3%A4nary",
        "c%c3%a4nary",
        base64.b64encode(SECRET.encode())[6:20].decode(),
    ):
        assert trace not in masked


def test_keys_and_values_of_json_are_masked_and_the_rest_stays() -> None:
    value = {"ok": [1, True, None, 2.5, "plain"], f"x{SECRET}": {"deep": [SECRET, f"a {SECRET}"]}}
    masked = Redactor([SECRET]).value(value)
    assert masked == {"ok": [1, True, None, 2.5, "plain"], f"x{MASK}": {"deep": [MASK, f"a {MASK}"]}}


def test_a_longer_value_is_masked_whole() -> None:
    assert Redactor(["abcdefgh", "abcdefgh-and-more"]).text("<abcdefgh-and-more>") == f"<{MASK}>"


def test_each_line_of_a_value_is_one_too() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
    redactor = Redactor([key])
    assert redactor.text("at hkiG9w0BAQEFAASC.") == f"at {MASK}."
    assert redactor.text(key.strip()) == MASK


def test_short_secrets_are_not_looked_for() -> None:
    assert Redactor(["x" * (SHORTEST - 1)]).text("xxxxxxx") == "xxxxxxx"
    assert not Redactor(["short"])
    assert NOTHING.value({"a": "b"}) == {"a": "b"}


@pytest.mark.parametrize(("start", "end", "masked"), [(0, 12, True), (0, 11, True), (5, 17, True), (0, 5, False)])
def test_a_message_that_quotes_a_piece_of_a_value(start: int, end: int, masked: bool) -> None:
    text = f"Near `{SECRET[start:end]}…` it ends, at {SECRET[-12:]}"
    shown = f"Near `{MASK if masked else SECRET[start:end]}…` it ends, at {MASK}"
    assert Redactor([SECRET]).message(text) == shown
    assert Redactor([SECRET]).text(text) == text
    assert Redactor([SECRET]).message("nothing of it") == "nothing of it"


SENSITIVE: list[Any] = ["4711", "abc", 12, 98765, {"street": "Elm Road", "number": 7}]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("the pin is 4711.", f"the pin is {MASK}."),
        ("abcd", "abcd"),
        ("abc", MASK),
        (12, MASK),
        (12.0, MASK),
        (13, 13),
        ("12", "12"),
        ("number 98765!", f"number {MASK}!"),
        (98765, MASK),
        (7, MASK),
        (True, True),
        (None, None),
        ({"street": "Elm Road", "number": 7}, MASK),
        ({"street": "12 Elm Road"}, {"street": f"12 {MASK}"}),
        ({"12": 1}, {"12": 1}),
    ],
)
def test_sensitive_values(value: Any, shown: Any) -> None:
    assert Redactor(sensitive=SENSITIVE).value([value]) == [shown]


def test_codes_and_names_of_an_error_stay() -> None:
    error = {"code": "timeout", "message": "no timeout for first", "task": "first", "details": {"said": "first"}}
    masked = Redactor(sensitive=["timeout", "first"]).error(error)
    assert masked == {"code": "timeout", "message": f"no {MASK} for {MASK}", "task": "first", "details": {"said": MASK}}


def test_the_log_does_not_hold_what_the_process_knows() -> None:
    remember(["log-canary-0815"])
    try:
        raise ValueError("refused: log-canary-0815")  # noqa: TRY301 - its traceback is what is looked at
    except ValueError as error:
        raised = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "said %s", ("log-canary-0815",), raised)
    assert RequestIdFilter().filter(record)
    line = LineFormatter().format(record)
    assert "canary-0815" not in line
    assert "said ***" in line
    assert "ValueError: refused: ***" in line
