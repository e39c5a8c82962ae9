"""The contract of a task type. A new type is one file in ``tasks_lib/types`` with one ``TaskType`` subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from dataflow.lib.cancellation import Cancellation

if TYPE_CHECKING:  # it imports `requests`: task types must stay quick to import
    from dataflow.lib.egress import Egress

ValueType = Literal["text", "number", "boolean", "file", "object", "list", "any"]
JsonValue = Any  # None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]
FileValue = dict[str, Any]  # {"file_id", "name", "content_type", "size", "sha256", "url"}


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One input or output of a task type. The checks are named and mean what they do in JSON Schema."""

    name: str
    type: ValueType
    description: str
    required: bool = False
    default: JsonValue = MISSING
    example: JsonValue = MISSING
    aliases: tuple[str, ...] = ()
    enum: tuple[JsonValue, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    #: Another input: where that is given, the default is not filled in, since what it leads to may know a better one.
    unless: str = ""


class Files(Protocol):
    """Files as streams: nothing is held whole in memory."""

    def open(self, value: FileValue) -> AbstractContextManager[IO[bytes]]:
        """Open a file value (``{"file_id": …}`` or ``{"url": …}``, fetched under the egress rules) to read."""

    def describe(self, value: FileValue) -> FileValue:
        """The value with the file's name, type and size where it has only an id; else, or for no known id, as it is."""

    def create(
        self, name: str, content_type: str, *, metadata: Mapping[str, JsonValue] | None = None
    ) -> AbstractContextManager[FileWriter]:
        """Create a file to write; it is stored when the block ends without an error, else nothing is kept."""


class FileWriter(Protocol):
    """A file being written. ``value`` is there once the block of ``Files.create`` has ended."""

    def write(self, data: bytes, /) -> int:
        """Append bytes; raises ``TaskError('too_large')`` over the limit."""

    @property
    def value(self) -> FileValue:
        """The file value to give as an output."""


class TaskContext(Protocol):
    """What a running task may use of the platform."""

    @property
    def cancellation(self) -> Cancellation:
        """Tells the task to stop, and how long it has."""

    @property
    def files(self) -> Files:
        """Files as streams."""

    @property
    def http(self) -> Egress:
        """The way out by HTTP, with the address rules, already bound to ``cancellation``."""

    @property
    def openai_base_url(self) -> str | None:
        """Where the OpenAI protocol is spoken, ``None`` for OpenAI itself. The operator's: it is not checked."""

    @property
    def idempotency_key(self) -> str:
        """The same for every try of one task of one execution: send it where the other side has such a key."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the task is, 0–1."""

    def log(self, message: str, *, level: Literal["debug", "info", "warning", "error"] = "info") -> None:
        """Add a line to the log of this attempt."""

    def usage(self, **amounts: JsonValue) -> None:
        """Record what was used (``model``, ``input_tokens``, ``output_tokens``, ``characters``, ``seconds`` …)."""

    def secret(self, name: str) -> str | None:
        """A secret by name (``OPENAI_API_KEY`` is the execution's own key first), ``None`` when there is none."""

    def connection(self, name: str, kind: str) -> Mapping[str, JsonValue]:
        """The settings of a named connection of that kind (``openai``, ``sql``, ``email``, ``slack``, ``s3``).

        Raises ``TaskError('validation')`` where there is none, or it is of another kind.
        """

    def workflow_inputs(self, workflow_id: str, version: int | None) -> Mapping[str, JsonValue]:
        """What a workflow (its current version for ``None``) takes, as JSON Schema of an object.

        Raises ``TaskError('validation')`` where there is none that can be run.
        """

    @property
    def resumed(self) -> Resumed | None:
        """What a ``Wait`` with ``state`` waited for, when ``run`` is called again after it; ``None`` the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What ``run`` returns instead of outputs for a task that goes on waiting without a worker or a thread.

    ``kind`` says for what, and ``data`` what whoever ends the wait needs:

    - ``timer``: ``data["outputs"]`` become the outputs when the time has come.
    - ``approval``: ``data`` is shown to the person who decides (``title``, ``message``, ``form``, ``on_reject``).
    - ``child``: ``data`` is the execution to start: ``{"workflow_id", "inputs", "version"}``.

    The time is ``seconds`` from now by the database's clock, or ``until``, or (both ``None``) without an end. For an
    approval and a child it is a timeout.
    """

    kind: Literal["timer", "approval", "child"]
    data: Mapping[str, JsonValue]
    seconds: float | None = None
    until: datetime | None = None
    #: For a child only. The task is not over when the child has ended, however that was: ``run`` is called again, and
    #: ``context.resumed`` has this state and how the child ended. It is kept over retries of that call.
    state: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """How the child ended that a task waited for, and the ``state`` that the task left when it began to wait."""

    state: Mapping[str, JsonValue]
    #: COMPLETED, FAILED or CANCELLED.
    status: str
    outputs: Mapping[str, JsonValue] | None
    error: Mapping[str, JsonValue] | None
    #: Which execution it was, empty where none could be started. It says nothing of how it ended.
    execution_id: str = field(default="", compare=False)


class TaskType(ABC):
    """A kind of task. Class attributes say everything that others derive from it."""

    name: ClassVar[str]
    title: ClassVar[str]
    category: ClassVar[str]
    description: ClassVar[str]
    inputs: ClassVar[Sequence[Field]]
    outputs: ClassVar[Sequence[Field]]
    #: Name of the output that stands for the whole; the first one unless said otherwise.
    default_output: ClassVar[str] = ""
    #: Older spellings of ``name`` that mean the same type.
    aliases: ClassVar[Sequence[str]] = ()
    #: Seconds one try may take unless the definition says otherwise.
    timeout: ClassVar[float] = 300.0
    #: Whether running it twice is harmless: then a run that its worker lost is simply tried again.
    idempotent: ClassVar[bool] = True
    #: Codes of the errors after which another try may help. Of each failure ``TaskError.retryable`` has the last word.
    retried: ClassVar[Sequence[str]] = ()
    #: Secrets without which it cannot run; an execution that lacks one is refused before it is queued.
    secrets: ClassVar[Sequence[str]] = ()
    #: Whether the local voice server can stand in for the provider when there is no key (speech only).
    local_voice: ClassVar[bool] = False
    #: Whether it takes no time worth mentioning: no network, no files, no other program, no work that grows faster than
    #: what it is given. The worker runs such tasks between two looks for work, which one that lingers would hold up.
    quick: ClassVar[bool] = False
    #: Whether it gives outputs that its description does not name (those of another workflow).
    any_outputs: ClassVar[bool] = False
    #: Modules of optional packages that it needs, and the extra that brings them (``requirements-{extra}.txt``).
    modules: ClassVar[Sequence[str]] = ()
    extra: ClassVar[str] = ""
    #: A working example of ``inputs`` for the catalogue.
    example: ClassVar[Mapping[str, JsonValue]] = {}

    @abstractmethod
    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue] | Wait:
        """Do the work, or say what to wait for.

        ``inputs`` are checked against ``self.inputs``: every name canonical, defaults filled in, optional ones
        without a default given as ``None``. Returns a value for each output (a missing one is ``None``).
        Raises ``TaskError`` with one of the stable codes.
        """

    def check(self, given: Mapping[str, JsonValue]) -> Iterable[tuple[str, str]]:
        """What can be seen to be wrong before it runs, besides what the fields say: pairs of input and sentence.

        ``given`` has every input that a definition gives, of its type; one that an expression decides is ``MISSING``.
        The definition is refused with what is found. ``run`` must look again: what is wrong may be known only then.
        """
        return ()

    def missing(self) -> str:
        """What must be installed before it can run, as a sentence with the command; empty where nothing is missing.

        A definition that uses a type with something missing is refused.
        """
        absent = [name for name in self.modules if find_spec(name) is None]
        if not absent:
            return ""
        return f"{self.name} needs an optional package: run `pip install -r requirements-{self.extra}.txt`."

    def is_repeatable(self, inputs: Mapping[str, JsonValue]) -> bool:
        """Whether running it twice with these inputs is harmless (a GET is, a POST is not)."""
        return self.idempotent
