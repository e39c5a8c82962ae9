"""Files as streams, through Django's storage API: names are data, never paths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from django.core.files.storage import default_storage
from django.db import DatabaseError

from dataflow.lib.errors import Problem, TaskError
from dataflow.lib.fields import dump_json
from executions.blobs import Spool, keep
from executions.engine.outcomes import MAX_OUTPUT_BYTES
from executions.models import Execution, StoredFile, TaskRun, new_file_id
from workflows.definition import Definition

MAX_BYTES = 512 * 1024 * 1024
#: An output whose JSON is larger is kept as a file behind the scenes, one over MAX_OUTPUT_BYTES fails its task.
INLINE_BYTES = 256 * 1024


class Writer:
    """A file being written."""

    def __init__(self, spool: Spool, limit: int) -> None:
        self._spool = spool
        self._limit = limit
        self._value: dict[str, Any] | None = None

    def write(self, data: bytes, /) -> int:
        """Append bytes; raises ``TaskError('too_large')`` over the limit, before anything is stored."""
        if self._spool.size + len(data) > self._limit:
            raise TaskError("too_large", f"A file may have at most {self._limit // 1024 // 1024} MiB.")
        return self._spool.write(data)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._spool.size

    @property
    def value(self) -> dict[str, Any]:
        """The file value, once the file is stored."""
        if self._value is None:
            raise RuntimeError("The file is stored when the block of Files.create has ended.")
        return self._value

    def stored_as(self, stored: StoredFile) -> None:
        """Tell the writer what it became."""
        self._value = stored.as_value()


@contextmanager
def creating(
    name: str,
    content_type: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    execution_id: str | None = None,
    task: str = "",
    limit: int = MAX_BYTES,
    file_id: str | None = None,
) -> Iterator[Writer]:
    """A new file to write. It is stored and gets its row when the block ends without an error.

    Its content decides what it is; ``content_type`` is believed where that agrees. ``file_id`` is an id that it must
    have, for the samples; anything else gets a new one.
    """
    with Spool() as spool:
        writer = Writer(spool, limit)
        yield writer
        file = StoredFile(
            id=file_id or new_file_id(), metadata=dict(metadata or {}), execution_id=execution_id, task=task
        )
        writer.stored_as(keep_spool(spool, name, content_type, file=file))


def keep_spool(spool: Spool, name: str, content_type: str, *, file: StoredFile | None = None) -> StoredFile:
    """Store what was spooled as a file, by default an upload. ``content_type`` is what the sender says."""
    file = file or StoredFile(metadata={})
    file.name = clean_name(name)
    file.content_type = spool.media_type(name=file.name, claimed=content_type)
    keep(spool, file)
    return file


def urls_in(definition: Definition, inputs: Mapping[str, Any]) -> dict[str, str]:
    """The inputs that are files known by their URL alone, which are fetched before the first task starts."""
    values = {given.name: inputs.get(given.name) for given in definition.inputs if given.type == "file"}
    return {name: value["url"] for name, value in values.items() if value and "file_id" not in value}


def resolve(definition: Definition, values: dict[str, Any]) -> list[Problem]:
    """Replace ids of stored files by full file values; a URL stays, to be fetched at run time."""
    problems = []
    for given in definition.inputs:
        value = values.get(given.name)
        if given.type != "file" or value is None:
            continue
        file_id = value if isinstance(value, str) else value.get("file_id")
        if file_id is None:
            continue
        stored = StoredFile.objects.filter(pk=file_id).first()
        if stored is None:
            detail = f"There is no file {file_id}. Upload it with POST /files."
            problems.append(Problem(pointer=f"/inputs/{given.name}", code="unknown_file", detail=detail))
        else:
            values[given.name] = stored.as_value()
    return problems


#: In the metadata of a file that holds an output: its name.
OUTPUT = "output"


def clean_name(name: str) -> str:
    """A name fit to show and to offer as a download: no folders, no control characters, at most 255 characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(character for character in last if character.isprintable()).strip(". ")
    return shown[-255:] or "file"


def open_stored(file_id: str) -> IO[bytes]:
    """The content of a stored file. Raises ``TaskError('validation')`` when there is none."""
    place = StoredFile.objects.filter(pk=file_id).values_list("blob__name", flat=True).first()
    if place is None:
        raise TaskError("validation", f"There is no file {file_id}.")
    return default_storage.open(place, "rb")


def value_of(file_id: str) -> dict[str, Any] | None:
    """The ``file`` value of a stored file, ``None`` when there is none."""
    stored = StoredFile.objects.filter(pk=file_id).first()
    return None if stored is None else stored.as_value()


def keep_large(values: Mapping[str, Any], *, execution_id: str, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split values into those for the row and those kept as files: ``(inline, {name: {"file_id", "size"}})``.

    An inline dict has ``None`` where the value is a file. Raises ``TaskError('too_large')`` over 100 MiB.
    """
    large = large_of(values)
    stored = {name: _keep(name, text, execution_id=execution_id, task=task) for name, text in large.items()}
    return {name: None if name in large else value for name, value in values.items()}, stored


def large_of(values: Mapping[str, Any]) -> dict[str, bytes]:
    """The JSON of those values that are kept as files."""
    texts = {name: dump_json(value).encode() for name, value in values.items()}
    return {name: text for name, text in texts.items() if len(text) > INLINE_BYTES}


def _keep(name: str, text: bytes, *, execution_id: str, task: str) -> dict[str, Any]:
    if len(text) > MAX_OUTPUT_BYTES:
        raise TaskError("too_large", f"Output {name} has {len(text)} bytes; at most {MAX_OUTPUT_BYTES} are kept.")
    told = {OUTPUT: name}
    with creating(f"{name}.json", "application/json", metadata=told, execution_id=execution_id, task=task) as writer:
        writer.write(text)
    return {"file_id": writer.value["file_id"], "size": len(text)}


class LazyOutputs(Mapping[str, Any]):
    """Outputs of a task: those of a stored task run, and those kept as files, are read when they are asked for."""

    def __init__(self, inline: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
        self._parts: tuple[Mapping[str, Any], Mapping[str, Any]] | None = (inline, stored)
        self._task = ("", "")
        self._read: dict[str, Any] = {}

    @classmethod
    def of_task(cls, execution_id: str, name: str) -> LazyOutputs:
        """The outputs of a completed task run (or item) that is in the database."""
        outputs = cls({}, {})
        outputs._parts, outputs._task = None, (execution_id, name)
        return outputs

    @property
    def inline(self) -> Mapping[str, Any]:
        """The values that stand in the row; ``None`` for those kept as files."""
        return self._both[0]

    @property
    def stored(self) -> Mapping[str, Any]:
        """``{output: {"file_id", "size"}}`` of those kept as files."""
        return self._both[1]

    @property
    def _both(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        if self._parts is None:
            execution_id, name = self._task
            found = TaskRun.objects.filter(execution_id=execution_id, name=name).values_list("outputs", "stored")
            outputs, stored = found.get()
            self._parts = outputs or {}, stored
        return self._parts

    def __getitem__(self, name: str) -> Any:
        if name not in self.stored:
            return self.inline[name]
        if name not in self._read:
            try:
                with open_stored(self.stored[name]["file_id"]) as content:
                    self._read[name] = json.load(content)
            except (TaskError, DatabaseError):
                raise
            except Exception as error:  # it is damaged, or the storage is away, each with errors of its own
                raise TaskError("runtime", f"The kept value of output {name} cannot be read: {error}") from error
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.inline)

    def __len__(self) -> int:
        return len(self.inline)


def shown_outputs(inline: Mapping[str, Any] | None, stored: Mapping[str, Any]) -> dict[str, Any] | None:
    """Outputs as the API shows them: those kept as files by reference, their URL instead of the value."""
    if inline is None:
        return None
    return dict(inline) | {
        name: {"url": f"/files/{kept['file_id']}/content", "size": kept["size"], "content_type": "application/json"}
        for name, kept in stored.items()
    }


def describe(stored: StoredFile) -> dict[str, Any]:
    """A file as ``GET /files/{id}`` shows it."""
    value: dict[str, Any] = stored.as_value()
    return value | {"metadata": stored.metadata, "created_at": stored.created_at, "execution": _execution_id(stored)}


def _execution_id(stored: StoredFile) -> str | None:
    execution: Execution | None = stored.execution
    return execution.id if execution is not None else None
