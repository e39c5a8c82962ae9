"""Task types of the fault suite's installations; they tell in a ledger, outside the database, what really ran.

An installation has them where its ``PYTHONPATH`` names a folder in which ``install`` was called: the entry point there
is how any package offers task types.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dataflow.lib.errors import TaskError
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType

#: Environment variable: the ledger's path.
LEDGER = "DATAFLOW_TEST_LEDGER"


def install(folder: Path) -> None:
    """Make ``folder`` one that offers these types to whoever has it in ``PYTHONPATH``."""
    about = folder / "dataflow_fault_types-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dataflow-fault-types\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[dataflow.task_types]\nfaults = {__name__}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the ledger. ``what`` is ``start`` or ``end``; ``time`` is this machine's real clock."""

    time: float
    pid: int
    execution: str
    task: str
    attempt: int
    what: str
    harmless: bool


def attempt_of(context: TaskContext) -> int:
    """Which try this is: the platform's own knowledge, of which a task type has no need."""
    attempt: int = context.claim.attempt  # type: ignore[attr-defined]  # not part of what task types may use
    return attempt


def note(context: TaskContext, what: str, *, harmless: bool) -> None:
    """Add a line, in one write, so that no two mix and a death leaves whole lines only."""
    execution, _, task = context.idempotency_key.partition("/")
    now = time.clock_gettime(time.CLOCK_REALTIME)  # a shifted clock shifts `time.time` only
    line = f"{now} {os.getpid()} {execution} {task} {attempt_of(context)} {what} {harmless:d}\n"
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)


class Lines:
    """What a ledger says, in order; what was read once is kept."""

    def __init__(self, ledger: Path) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._read, self._known = 0, list[Line]()

    def all(self) -> list[Line]:
        """All lines that are there now."""
        with self._lock:
            if self._ledger.exists():
                with self._ledger.open("rb") as file:
                    file.seek(self._read)
                    more = file.read()
                more = more[: more.rfind(b"\n") + 1]  # what is being written is for the next time
                self._read += len(more)
                self._known += [_line(*text.split()) for text in more.decode().splitlines()]
            return list(self._known)

    def forget(self) -> None:
        """Read it anew: somebody changed what was there."""
        with self._lock:
            self._read, self._known = 0, []


def _line(at: str, pid: str, execution: str, task: str, attempt: str, what: str, harmless: str) -> Line:
    return Line(
        time=float(at), pid=int(pid), execution=execution, task=task, attempt=int(attempt), what=what,
        harmless=harmless == "1",
    )  # fmt: skip


class Ledger(TaskType):
    """Notes its start, takes its time, fails its first ``fail_times`` tries, notes its end."""

    name = "test.ledger"
    title = "Ledger"
    category = "test"
    description = "Notes in the ledger that it ran."
    inputs = (
        Field(name="text", type="text", default="done", description="What it gives"),
        Field(name="seconds", type="number", default=0, description="How long it takes"),
        Field(name="again", type="number", default=0, description="How much longer each further try takes"),
        Field(name="until", type="text", default="", description="A path: it goes on until a file is there"),
        Field(name="fail_times", type="number", default=0, description="How many tries fail first"),
        Field(name="harmless", type="boolean", default=True, description="Whether running it twice is harmless"),
    )
    outputs = (Field(name="text", type="text", description="The text given"),)

    def is_repeatable(self, inputs: Mapping[str, JsonValue]) -> bool:
        return bool(inputs["harmless"])

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        note(context, "start", harmless=inputs["harmless"])
        end = time.monotonic() + inputs["seconds"] + (attempt_of(context) - 1) * inputs["again"]
        while (left := end - time.monotonic()) > 0 or (inputs["until"] and not Path(inputs["until"]).exists()):
            context.cancellation.check()
            time.sleep(min(0.05, left) if left > 0 else 0.05)
        if inputs["fail_times"] and self._starts(context) <= inputs["fail_times"]:
            raise TaskError("communication", "As told.", retryable=True)
        note(context, "end", harmless=inputs["harmless"])
        return {"text": inputs["text"]}

    def _starts(self, context: TaskContext) -> int:
        mine = f" {context.idempotency_key.replace('/', ' ', 1)} "
        ledger = Path(os.environ[LEDGER]).read_text()
        return sum(" start " in line for line in ledger.splitlines() if mine in line)


class KillsWorker(TaskType):
    """Takes its worker process with it, each time."""

    name = "test.kills_worker"
    title = "Kills its worker"
    category = "test"
    description = "Kills the process that runs it."
    inputs = ()
    outputs = (Field(name="text", type="text", description="Never given"),)

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        note(context, "start", harmless=True)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("SIGKILL was survived")


class Hangs(TaskType):
    """Ignores whatever asks it to stop."""

    name = "test.hangs"
    title = "Hangs"
    category = "test"
    description = "Sleeps, deaf to cancellation and to its timeout."
    inputs = (Field(name="seconds", type="number", default=60, description="How long"),)
    outputs = (Field(name="text", type="text", description="done"),)

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        note(context, "start", harmless=True)
        time.sleep(inputs["seconds"])
        note(context, "end", harmless=True)
        return {"text": "done"}
