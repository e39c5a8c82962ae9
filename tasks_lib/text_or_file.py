"""Task types that take either a text or a file: which of the two it is, and a file's bytes within a bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dataflow.lib.errors import TaskError
from tasks_lib.base import MISSING, FileValue, JsonValue, TaskContext

#: Bytes that are read at once.
CHUNK = 256 * 1024


def check_one(given: Mapping[str, JsonValue], first: str = "text", second: str = "file") -> Iterator[tuple[str, str]]:
    """For ``TaskType.check``: exactly one of the two. One of them may be null when the task runs."""
    if first not in given and second not in given:
        yield first, f"Give `{first}` or `{second}`."
    if given.get(first, MISSING) is not MISSING and given.get(second, MISSING) is not MISSING:
        yield second, f"Give `{first}` or `{second}`, not both."


def require_one(inputs: Mapping[str, JsonValue], first: str = "text", second: str = "file") -> None:
    """The same when the task runs. Raises ``TaskError('validation')``."""
    if (inputs[first] is None) == (inputs[second] is None):
        both = inputs[first] is not None
        message = f"Give `{first}` or `{second}`{', not both' if both else '; both are null'}."
        raise TaskError("validation", message)


def chunks_of(context: TaskContext, file: FileValue, most: int) -> Iterator[bytes]:
    """The bytes of a file, piece by piece. Raises ``too_large`` after ``most`` bytes."""
    size = 0
    with context.files.open(file) as opened:
        while chunk := opened.read(CHUNK):
            context.cancellation.check()
            size += len(chunk)
            if size > most:
                message = f"The file is larger than the {most // 1024**2} MiB that are read. Split it, or read less."
                raise TaskError("too_large", message)
            yield chunk
