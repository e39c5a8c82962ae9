"""The event log of an execution, as pages of JSON or live as server-sent events, its tasks' log lines and items."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

from django.db import connection
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder
from rest_framework.views import APIView

from dataflow.api.pagination import DEFAULT_LIMIT, MAX_LIMIT, bad_parameter, next_link
from dataflow.api.queries import choices_parameter, text_parameter
from dataflow.lib.errors import not_found, unavailable
from executions.api import get_execution
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.log_lines import LEVELS, Place, lines_of
from executions.models import Event, Execution, TaskRun
from executions.present import describe_event, describe_items
from executions.waiters import ENDS

#: Streams of one process at a time: each holds a thread.
MAX_STREAMS = 16
#: Seconds: between looks for new events, between signs of life, and until a stream ends for its client to come again.
_LOOK_SECONDS, _ALIVE_SECONDS, _LONGEST_SECONDS = 0.5, 15.0, 600.0
_LARGEST = 2**31 - 1
_streams = threading.BoundedSemaphore(MAX_STREAMS)


class EventsView(APIView):
    """``…/{eid}/events``."""

    class Negotiation(DefaultContentNegotiation):
        """JSON, unless a stream is asked for, which is no renderer's business."""

        def select_renderer(
            self, request: Request, renderers: Any, format_suffix: str | None = None
        ) -> tuple[BaseRenderer, str]:
            """As always, but for ``text/event-stream``."""
            if _wants_stream(request):
                return JSONRenderer(), "application/json"
            chosen: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
            return chosen

    content_negotiation_class = Negotiation

    def get(self, request: Request, workflow_id: str, execution_id: str) -> HttpResponseBase:
        """The events after ``?after=``, oldest first; ``next_cursor`` is the ``after`` of the next page."""
        execution = get_execution(workflow_id, execution_id)
        if _wants_stream(request):
            last = request.headers.get("Last-Event-ID", "")
            return _stream(execution, int(last) if _is_number(last) else _number(request, "after"))
        limit = _number(request, "limit", default=DEFAULT_LIMIT, smallest=1, largest=MAX_LIMIT)
        events = list(_events(execution, _number(request, "after"))[: limit + 1])
        following = str(events[limit - 1].sequence) if len(events) > limit else None
        return Response(
            {"events": [describe_event(event) for event in events[:limit]], "next_cursor": following},
            headers=next_link(request.path, request.query_params, following, name="after"),
        )


class LogsView(APIView):
    """``…/{eid}/logs``."""

    def get(self, request: Request, workflow_id: str, execution_id: str) -> Response:
        """The log lines of the tasks, of all tries and items, oldest first; ``next_cursor`` is for ``?cursor=``.

        ``?task=`` is a task, or one item (``pages[3]``); ``?level=`` leaves out what is less urgent than that.
        """
        execution = get_execution(workflow_id, execution_id)
        limit = _number(request, "limit", default=DEFAULT_LIMIT, smallest=1, largest=MAX_LIMIT)
        level = request.query_params.get("level", "").lower() or LEVELS[0]
        if level not in LEVELS:
            raise bad_parameter("level", f"`level` is one of {', '.join(LEVELS)}: lines of that level and above.")
        task = text_parameter(request.query_params, "task")
        lines = lines_of(execution.pk, limit=limit + 1, after=_place(request), task=task, level=level)
        following = _cursor(lines[limit - 1].place) if len(lines) > limit else None
        return Response(
            {"logs": [line.shown for line in lines[:limit]], "next_cursor": following},
            headers=next_link(request.path, request.query_params, following),
        )


class ItemsView(APIView):
    """``…/{eid}/tasks/{name}/items``."""

    def get(self, request: Request, workflow_id: str, execution_id: str, task: str) -> Response:
        """The items of a ``for_each`` task that were begun, in their order; ``next_cursor`` is for ``?cursor=``.

        ``?status=`` leaves out those in other states.
        """
        execution = get_execution(workflow_id, execution_id)
        found = TaskRun.objects.filter(execution=execution, name=task, item=None).values_list("position", flat=True)
        if (position := found.first()) is None:
            raise not_found("begun task", task)
        limit = _number(request, "limit", default=DEFAULT_LIMIT, smallest=1, largest=MAX_LIMIT)
        begun = TaskRun.objects.filter(
            execution=execution, position=position, item__gte=_number(request, "cursor")
        ).order_by("item")
        statuses = choices_parameter(request.query_params, "status", [status.value for status in TaskStatus])
        items = list((begun.filter(status__in=statuses) if statuses else begun)[: limit + 1])
        following = str(items[limit].item) if len(items) > limit else None
        return Response(
            {"items": describe_items(execution, items[:limit]), "next_cursor": following},
            headers=next_link(request.path, request.query_params, following),
        )


def _events(execution: Execution, after: int) -> Any:
    return Event.objects.filter(execution=execution, sequence__gt=after).order_by("sequence")


def _wants_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("Accept", "")


def _stream(execution: Execution, after: int) -> StreamingHttpResponse:
    if not _streams.acquire(blocking=False):
        detail = f"This server sends {MAX_STREAMS} streams at a time, and does. Ask for the events as JSON, or later."
        raise unavailable(detail, retry_after=5)
    response = StreamingHttpResponse(_Lines(execution, after), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


class _Lines:
    """The lines of one stream. Its place is given back when it is closed, also where nobody ever read it."""

    def __init__(self, execution: Execution, after: int) -> None:
        self._lines = _lines(execution, after)
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    def close(self) -> None:
        """Called by the server at the end, however it ended."""
        self._lines.close()
        if self._open:
            self._open = False
            _streams.release()


def _lines(execution: Execution, after: int) -> Generator[bytes, None, None]:
    """New events as they come, until the execution's end has been told."""
    start = said = time.monotonic()
    yield b"retry: 2000\n\n"
    while not ENDS.closing and time.monotonic() - start < _LONGEST_SECONDS:
        # The status first: what was told before it is in the log by then.
        status = Execution.objects.values_list("status", flat=True).filter(pk=execution.pk).first()
        for event in _events(execution, after)[:MAX_LIMIT]:
            after, said = event.sequence, time.monotonic()
            yield _line(event)
        if status is None or (ExecutionStatus(status).ended and not _events(execution, after).exists()):
            return
        if time.monotonic() - said > _ALIVE_SECONDS:
            said = time.monotonic()
            yield b": alive\n\n"
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close()
        time.sleep(_LOOK_SECONDS)


def _line(event: Event) -> bytes:
    data = json.dumps(describe_event(event), cls=JSONEncoder, ensure_ascii=False, separators=(",", ":"))
    return f"id: {event.sequence}\nevent: {event.type}\ndata: {data}\n\n".encode()


def _cursor(place: Place) -> str:
    text = json.dumps([place.at, place.name, place.number, place.place])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(request: Request) -> Place | None:
    """The place of the last line of the page before. Raises ``ApiProblem`` 400."""
    if not (cursor := request.query_params.get("cursor", "")):
        return None
    try:
        at, name, number, place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        at = name = number = place = None
    texts = isinstance(at, str) and isinstance(name, str) and (at + name).isascii() and "\0" not in at + name
    if not (texts and all(type(one) is int and 0 <= one <= _LARGEST for one in (number, place))):
        raise bad_parameter("cursor", "`cursor` is not one that a page gave as `next_cursor`.")
    return Place(at=at, name=name, number=number, place=place)


def _number(request: Request, name: str, *, default: int = 0, smallest: int = 0, largest: int = _LARGEST) -> int:
    """A whole number of the query string. Raises ``ApiProblem`` 400."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not _is_number(text) or not smallest <= int(text) <= largest:
        raise bad_parameter(name, f"`{name}` is a whole number from {smallest} to {largest}.")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
