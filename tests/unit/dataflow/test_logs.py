"""Log lines: one line, with the request's id, that a client cannot forge."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from dataflow.lib.request_id import request_id
from dataflow.logs import LineFormatter, RequestIdFilter
from dataflow.middleware import RequestIdMiddleware


def line_of(message: str) -> str:
    record = logging.LogRecord("dataflow.test", logging.INFO, __file__, 1, message, None, None)
    assert RequestIdFilter().filter(record)
    return LineFormatter().format(record)


def answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse(line_of("hello"))


def test_it_works() -> None:
    response = RequestIdMiddleware(answer)(RequestFactory().get("/"))
    given = response.headers["X-Request-ID"]
    assert given.startswith("rq-")
    assert isinstance(response, HttpResponse)
    assert f"INFO    dataflow.test [{given}] hello" in response.content.decode()
    assert request_id.get() == ""


def test_a_clients_id_is_taken_over_when_harmless() -> None:
    for sent, kept in (("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("a\x7f", False)):
        response = RequestIdMiddleware(answer)(RequestFactory().get("/", headers={"X-Request-ID": sent}))
        assert (response.headers["X-Request-ID"] == sent) is kept


def test_outside_of_a_request_there_is_a_dash() -> None:
    assert "[-] hello" in line_of("hello")


def test_a_line_stays_one_line() -> None:
    assert line_of("a\nb\x1b[31m").endswith("a\\nb\\x1b[31m")
