"""Fetches the inputs that were given as a URL: once, before the first task, so that all tasks see the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from time import sleep
from typing import Any
from urllib.parse import unquote, urlsplit

from dataflow.lib.errors import TaskError
from executions import files, store
from executions.outside import egress
from executions.worker.database import persist, release_connection

#: Seconds for one file, and before another try of what may have been a passing fault.
TIMEOUT = 300.0
PAUSES = (1.0, 5.0)


def fetch_files(execution_id: str, urls: Mapping[str, str]) -> None:
    """Store the files behind ``urls`` (by input name) for an execution; one that cannot be fetched fails it.

    The rules are those of ``web.download``. A worker that dies meanwhile leaves the execution as it was: the next one
    fetches again.
    """
    try:
        values = {name: _fetched(execution_id, url) for name, url in urls.items()}
    except TaskError as error:
        failure = TaskError(error.code, f"A file of the inputs could not be fetched. {error.message}")
        persist(partial(store.fail, execution_id, failure))
    else:
        persist(partial(store.give_files, execution_id, values))


def _fetched(execution_id: str, url: str) -> dict[str, Any]:
    for pause in PAUSES:
        try:
            return _fetch(execution_id, url)
        except TaskError as error:
            if not error.retryable:
                raise
            sleep(max(pause, min(error.retry_after or 0.0, 30.0)))
    return _fetch(execution_id, url)


def _fetch(execution_id: str, url: str) -> dict[str, Any]:
    release_connection()  # the other side may take its time
    with egress().request("GET", url, timeout=TIMEOUT, max_bytes=files.MAX_BYTES) as answer:
        if not 200 <= answer.status < 300:
            retryable = answer.status in (408, 425, 429) or answer.status >= 500
            message = f"{url} answered {answer.status}."
            raise TaskError("communication", message, retryable=retryable, retry_after=answer.retry_after)
        name = unquote(PurePosixPath(urlsplit(answer.final_url).path).name) or "file"
        with files.creating(name, answer.content_type or "", execution_id=execution_id) as writer:
            for chunk in answer.iter_bytes():
                writer.write(chunk)
    return writer.value
