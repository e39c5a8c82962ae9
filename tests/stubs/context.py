"""A ``TaskContext`` with real parts for unit tests: files in a folder, a real way out, what was logged and used kept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.egress import Egress
from dataflow.lib.errors import TaskError
from dataflow.lib.ids import new_id
from tasks_lib.base import MISSING, FileValue, JsonValue, Resumed, TaskType, Wait

MAX_FILE = 512 * 1024 * 1024


class FolderFiles:
    """Files kept in a folder; ``metadata`` by file id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.metadata: dict[str, dict[str, JsonValue]] = {}
        self._values: dict[str, FileValue] = {}

    @contextmanager
    def open(self, value: FileValue) -> Iterator[IO[bytes]]:
        path = self.path(value)
        if not path.exists():
            raise TaskError("validation", f"There is no file {value!r}.")
        with path.open("rb") as file:
            yield file

    def describe(self, value: FileValue) -> FileValue:
        return value if "name" in value else self._values.get(str(value.get("file_id")), value)

    @contextmanager
    def create(
        self, name: str, content_type: str, *, metadata: Mapping[str, JsonValue] | None = None
    ) -> Iterator[FolderWriter]:
        writer = FolderWriter(name, content_type)
        yield writer
        self._keep(writer, metadata)

    def add(self, name: str, content_type: str, data: bytes) -> FileValue:
        """A file that is there before the task runs."""
        with self.create(name, content_type) as file:
            file.write(data)
        return file.value

    def path(self, value: FileValue) -> Path:
        return self._folder / str(value.get("file_id"))

    def read(self, value: FileValue) -> bytes:
        return self.path(value).read_bytes()

    def names(self) -> list[str]:
        """The ids of all files kept."""
        return sorted(path.name for path in self._folder.iterdir())

    def _keep(self, writer: FolderWriter, metadata: Mapping[str, JsonValue] | None) -> None:
        data = writer.buffer.getvalue()
        identifier = new_id("fl")
        (self._folder / identifier).write_bytes(data)
        self.metadata[identifier] = dict(metadata or {})
        self._values[identifier] = {
            "file_id": identifier,
            "name": writer.name,
            "content_type": writer.content_type,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "url": f"/files/{identifier}/content",
        }
        writer.keep(self._values[identifier])


class FolderWriter:
    """A file being written."""

    def __init__(self, name: str, content_type: str) -> None:
        self.name = name
        self.content_type = content_type
        self.buffer = io.BytesIO()
        self._value: FileValue | None = None

    def write(self, data: bytes, /) -> int:
        if self.buffer.tell() + len(data) > MAX_FILE:
            raise TaskError("too_large", "The file is too large.")
        return self.buffer.write(data)

    def keep(self, value: FileValue) -> None:
        self._value = value

    @property
    def value(self) -> FileValue:
        if self._value is None:
            raise RuntimeError("the file has not been stored yet")
        return self._value


@dataclass
class StubContext:
    """A ``TaskContext``. Loopback is open, since the stub servers are there."""

    folder: Path
    cancellation: Cancellation = field(default_factory=lambda: Cancellation(30))
    openai_base_url: str | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    #: By name: ``(kind, settings)``.
    connections: dict[str, tuple[str, dict[str, JsonValue]]] = field(default_factory=dict)
    #: What each workflow takes, as JSON Schema.
    workflows: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    resumed: Resumed | None = None
    idempotency_key: str = "we-1.task"
    allow_loopback: bool = True
    logs: list[tuple[str, str]] = field(default_factory=list)
    used: dict[str, JsonValue] = field(default_factory=dict)
    progressed: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.files = FolderFiles(self.folder)
        self.http = Egress(allow_loopback=self.allow_loopback, cancellation=self.cancellation)

    def progress(self, fraction: float, message: str = "") -> None:
        self.progressed.append((fraction, message))

    def log(self, message: str, *, level: Literal["debug", "info", "warning", "error"] = "info") -> None:
        self.logs.append((level, message))

    def usage(self, **amounts: JsonValue) -> None:
        for name, amount in amounts.items():
            before = self.used.get(name)
            both = type(amount) in (int, float) and type(before) in (int, float)
            self.used[name] = before + amount if both else amount

    def secret(self, name: str) -> str | None:
        return self.secrets.get(name)

    def connection(self, name: str, kind: str) -> Mapping[str, JsonValue]:
        found = self.connections.get(name)
        if found is None or found[0] != kind:
            raise TaskError("validation", f"There is no connection {name} for {kind}.")
        return found[1]

    def workflow_inputs(self, workflow_id: str, version: int | None) -> Mapping[str, JsonValue]:
        if workflow_id not in self.workflows:
            raise TaskError("validation", f"There is no workflow {workflow_id}.")
        return self.workflows[workflow_id]


def start(task_type: TaskType, context: StubContext, **inputs: JsonValue) -> Mapping[str, JsonValue] | Wait:
    """Run a task type as the platform does: defaults filled in, optional inputs without one given as ``None``."""
    known = {
        item.name: None if item.default is MISSING or item.unless in inputs else item.default
        for item in task_type.inputs
    }
    unknown = set(inputs) - set(known)
    if unknown:
        raise AssertionError(f"{task_type.name} has no inputs {sorted(unknown)}")
    try:
        return task_type.run(context, **(known | inputs))
    except TaskError as error:
        # A try that is stopped from outside may always be tried again.
        if error.retryable and error.code not in task_type.retried and context.cancellation.error is None:
            raise AssertionError(f"{task_type.name}: `retried` of its class does not name {error.code}") from error
        raise


def run(task_type: TaskType, context: StubContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
    """As ``start``, for a type that gives its outputs at once."""
    outputs = start(task_type, context, **inputs)
    assert not isinstance(outputs, Wait)
    return outputs
