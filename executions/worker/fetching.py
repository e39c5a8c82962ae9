"""Fetches the inputs that were given as a URL: once, before the first task, so that all tasks see the same bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from executions import files, store
from executions.outside import egress
from executions.worker.database import persist, release_connection

#: Seconds for one file, and before another try of what may have been a passing fault.
TIMEOUT = 300.0
PAUSES = (1.0, 5.0)


class Fetches:
    """What one process fetches: nobody else takes these executions meanwhile, and one that is cancelled is let go."""

    def __init__(self) -> None:
        self._under_way: dict[str, Cancellation] = {}
        self._lock = threading.Lock()

    def fetch(self, execution_id: str, urls: Mapping[str, str]) -> bool:
        """Store the files behind ``urls`` (by input name) for an execution; one that cannot be fetched fails it.

        The rules are those of ``web.download``. A worker that dies meanwhile leaves the execution as it was: the next
        one fetches again. ``False``: another thread is at it, or the execution or the worker is being stopped.
        """
        with self._registered(execution_id) as cancellation:
            if cancellation is None:
                return False
            try:
                values = {name: _fetched(execution_id, url, cancellation) for name, url in urls.items()}
            except TaskError as error:
                if cancellation.error is not None:
                    return False
                failure = TaskError(error.code, f"A file of the inputs could not be fetched. {error.message}")
                persist(partial(store.fail, execution_id, failure))
            else:
                persist(partial(store.give_files, execution_id, values))
        return True

    def look(self, *, renew: bool) -> None:
        """Stop for executions that do not begin any more; with ``renew``, keep the others from being taken."""
        with self._lock:
            under_way = dict(self._under_way)
        if not under_way:
            return
        wanted = store.waiting_to_begin(under_way, hold=renew)
        for gone in under_way.keys() - wanted:
            under_way[gone].stop(TaskError("cancelled", "The execution does not want its files any more."))

    def release_all(self) -> None:
        """Stop them all; the executions go back to be taken by others."""
        with self._lock:
            under_way = dict(self._under_way)
        for execution_id, cancellation in under_way.items():
            cancellation.stop(TaskError("worker_lost", "The worker is being stopped."))
            persist(partial(store.make_due, execution_id))

    @contextmanager
    def _registered(self, execution_id: str) -> Iterator[Cancellation | None]:
        with self._lock:
            known = execution_id in self._under_way
            cancellation = self._under_way.setdefault(execution_id, Cancellation())
        try:
            yield None if known else cancellation
        finally:
            if not known:
                with self._lock:
                    del self._under_way[execution_id]


def _fetched(execution_id: str, url: str, cancellation: Cancellation) -> dict[str, Any]:
    for pause in PAUSES:
        try:
            return _fetch(execution_id, url, cancellation)
        except TaskError as error:
            if not error.retryable or cancellation.error is not None:
                raise
            _pause(max(pause, min(error.retry_after or 0.0, 30.0)), cancellation)
    return _fetch(execution_id, url, cancellation)


def _pause(seconds: float, cancellation: Cancellation) -> None:
    stopped = threading.Event()
    with cancellation.interrupting(stopped.set):
        stopped.wait(seconds)
    cancellation.check()


def _fetch(execution_id: str, url: str, cancellation: Cancellation) -> dict[str, Any]:
    release_connection()  # the other side may take its time
    out = egress().bound_to(cancellation)
    with out.request("GET", url, timeout=TIMEOUT, max_bytes=files.MAX_BYTES) as answer:
        if not 200 <= answer.status < 300:
            retryable = answer.status in (408, 425, 429) or answer.status >= 500
            message = f"{url} answered {answer.status}."
            raise TaskError("communication", message, retryable=retryable, retry_after=answer.retry_after)
        name = unquote(PurePosixPath(urlsplit(answer.final_url).path).name) or "file"
        with files.creating(name, answer.content_type or "", execution_id=execution_id) as writer:
            for chunk in answer.iter_bytes():
                writer.write(chunk)
    return writer.value
