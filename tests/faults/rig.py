"""An installation to be ill-treated: two worker clusters, a web server, and a PostgreSQL of its own behind a proxy."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import psutil
import requests

from dataflow.processes import worker_command
from tests.plugins.own_postgresql import OwnPostgres
from tests.plugins.stack import ROOT, Stack, signal_all, wait_until
from tests.stack_driver import Installation, Started, is_running
from tests.stubs import fault_types
from tests.stubs.fault_types import Line
from tests.stubs.tcp_proxy import TcpProxy
from tests.stubs.web_stub import WebStub

#: Seconds: long enough for a busy machine to renew in time, short enough to wait for.
LEASE_SECONDS = 6.0
#: Once the fault is over, so many seconds without an execution that ends are too many.
RECOVERY_SECONDS = 60.0
CLUSTERS = ("worker", "worker2")
#: Of each cluster, and of each of these.
PROCESSES, THREADS = 2, 8
#: How often one job is delivered again at most.
AGAIN = 5
ALIVE = "status IN ('PENDING', 'RUNNING')"


def ledger(name: str, **more: Any) -> dict[str, Any]:
    """A task that notes in the ledger that it ran; what is no field of a task is an input."""
    fields = {key: more.pop(key) for key in ("depends_on", "retry", "timeout", "continue_on_failure") if key in more}
    return {"name": name, "type": "test.ledger", "inputs": more} | fields


class Rig(Installation):
    """The first cluster talks to the database through ``proxy``, the other and the web server directly.

    ``more`` is laid over the environment of all.
    """

    def __init__(
        self,
        folder: Path,
        receiver: WebStub,
        postgresql: OwnPostgres | None,
        proxy: TcpProxy | None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.receiver, self.postgresql, self.proxy = receiver, postgresql, proxy
        self.ledger_path = folder / "ledger"
        self.ledger = fault_types.Lines(self.ledger_path)
        self.fail_file = folder / "failpoints"
        fault_types.install(folder / "plugin")
        database = postgresql.fresh_database() if postgresql is not None else ""
        environment = {
            "WORKERS": str(PROCESSES),
            "WORKER_THREADS": str(THREADS),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder / "plugin")]),
            "DATAFLOW_TEST_LEDGER": str(self.ledger_path),
            "DATAFLOW_FAILPOINTS_FILE": str(self.fail_file),
            "DATAFLOW_TEST_LEASE_SECONDS": str(LEASE_SECONDS),
            "DATAFLOW_TEST_DELIVERY_LEASE_SECONDS": str(LEASE_SECONDS),
            **more,
        }
        url = postgresql.url(database) if postgresql is not None else ""
        stack = Stack(folder, url, environment, voice=False)
        stack.process_group = 0
        stack.commands["worker2"] = worker_command()
        if postgresql is not None and proxy is not None:
            stack.own_environment["worker"] = {"DATABASE_URL": postgresql.url(database, port=proxy.port)}
        super().__init__(stack)
        self.hook = receiver.page("/hook", "thank you")
        #: How often a start was not accepted at once.
        self.refused = 0

    # --- executions ---
    def flow(self, *tasks: dict[str, Any], **fields: Any) -> str:
        """Create a workflow whose events all go to the webhook receiver."""
        events = ["started", "completed", "failed", "cancelled", "task"]
        return self.workflow(*tasks, monitoring={"webhook": {"url": self.hook, "events": events}}, **fields)

    def begin(self, workflow: str, count: int) -> list[Started]:
        """Start so many executions, several at a time, in whatever state the installation is."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda _: self.begin_one(workflow), range(count)))

    def begin_one(self, workflow: str, *, patience: float = RECOVERY_SECONDS) -> Started:
        """Start an execution as a careful client does: again with the same key until it is answered."""
        key, end = uuid4().hex, time.monotonic() + patience
        url = f"{self.stack.base_url}/workflows/{workflow}/executions"
        while True:
            with contextlib.suppress(requests.RequestException):
                answer = requests.post(url, json={"inputs": {}}, headers={"Idempotency-Key": key}, timeout=15)
                if answer.status_code == 201:
                    return Started(workflow, answer.json()["workflow_execution_id"])
                assert answer.status_code in {500, 502, 503}, answer.text
                assert answer.status_code == 503, f"not told that it is for a moment only: {answer.text}"
            self.refused += 1
            assert time.monotonic() < end, f"no start was accepted within {patience:g} s\n{self.stack.log()}"
            time.sleep(0.1)

    def all_end(self, executions: Sequence[Started], *, timeout: float = RECOVERY_SECONDS) -> None:
        """Wait until all have ended; a failure says what is left and what the processes said.

        ``timeout``: seconds without any end. How much there is to do, and how busy the machine, is no fault.
        """
        least, since = math.inf, time.monotonic()
        while left := self.alive(executions):
            if left < least:
                least, since = left, time.monotonic()
            if time.monotonic() - since > timeout:
                raise AssertionError(
                    f"{left} of {len(executions)} not ended, and none for {timeout:g} s\n{self.state_of_left()}"
                )
            time.sleep(0.1)

    def all_complete(self, executions: Sequence[Started], *, timeout: float = RECOVERY_SECONDS) -> None:
        """Wait until all have ended, as COMPLETED; a failure says why they are not."""
        self.all_end(executions, timeout=timeout)
        states = [self.state(one) for one in executions] if self.statuses(executions) != {"COMPLETED"} else []
        wrong = [(state["status"], state["error"]) for state in states if state["status"] != "COMPLETED"]
        assert not wrong, f"{len(wrong)} of {len(executions)}: {wrong[:5]}\n{self.stack.log()}"

    def state_of_left(self) -> str:
        """What has not ended, for the message of a failure."""
        alive = f"SELECT id FROM executions_execution WHERE {ALIVE}"
        rows = self.sql(f"SELECT id, status, wake_at, sequence FROM executions_execution WHERE {ALIVE} LIMIT 5")
        tasks = self.sql(
            f"SELECT execution_id, name, status, attempt, lost, worker, lease_until FROM executions_taskrun"
            f" WHERE execution_id IN ({alive}) AND status <> 'COMPLETED' LIMIT 5"
        )
        return "\n".join([*map(str, rows), *map(str, tasks), self.stack.log()])

    # --- the ledger ---
    def lines(self, executions: Sequence[Started] | None = None) -> list[Line]:
        """What the ledger says, of all or of these executions."""
        wanted = None if executions is None else {one.id for one in executions}
        return [line for line in self.ledger.all() if wanted is None or line.execution in wanted]

    def starts(self, executions: Sequence[Started]) -> list[Line]:
        """The starts among them."""
        return [line for line in self.lines(executions) if line.what == "start"]

    def wait_for_starts(self, executions: Sequence[Started], count: int) -> None:
        wait_until(lambda: len(self.starts(executions)) >= count, timeout=30, what=f"{count} tasks have started")

    def every_thread_works(self, *, timeout: float = 60.0) -> None:
        """As many tasks at once as there are threads: the fault has cost none of them."""
        self.wait_for_workers()
        wanted = len(CLUSTERS) * PROCESSES * THREADS
        gate = self.ledger_path.with_name(f"gate {uuid4().hex}")  # one that nobody waits at from before
        executions = self.begin(self.workflow(ledger("meet", until=str(gate))), wanted)
        try:
            together = f"{wanted} tasks run at once"
            wait_until(lambda: len(self.busy(executions)) >= wanted, timeout=timeout, what=together, every=0.2)
        finally:
            gate.touch()
        self.all_complete(executions)
        assert len(self.starts(executions)) == wanted, "some had to be tried again"

    # --- faults ---
    def arm(self, points: str) -> None:
        """Let the next process that passes one of these fail-points act."""
        self._taken.unlink(missing_ok=True)
        draft = self.fail_file.with_name("failpoints.draft")
        draft.write_text(points)
        draft.rename(self.fail_file)

    def wait_for_fault(self, *, timeout: float = 30.0) -> None:
        """Wait until a process acted; a point that nobody passes proves nothing."""
        wait_until(self._taken.exists, timeout=timeout, what=f"a process passes {self.fail_file}")

    @property
    def _taken(self) -> Path:
        return self.fail_file.with_name("failpoints.taken")

    def children(self, *clusters: str) -> list[int]:
        """The worker processes of these clusters, without the ones that keep them alive."""
        names = clusters or tuple(name for name in self.stack.commands if name.startswith("worker"))
        return [pid for name in names for pid in self.stack.pids(name)[1:]]

    def _holders(self, condition: str = "true") -> list[int]:
        """The process of each try that is in hand."""
        holders = self.sql(
            "SELECT w.pid FROM executions_taskrun t JOIN executions_worker w ON w.id = t.worker"
            f" WHERE t.status = 'RUNNING' AND {condition}"
        )
        return [pid for (pid,) in holders]

    def in_hand(self, pids: Sequence[int]) -> int:
        """How many tries these processes have in hand."""
        return sum(pid in pids for pid in self._holders())

    def stop_at(self, point: str, workflow: str) -> list[Started]:
        """Start executions until a process that passes ``point`` for the second time stands still; all of them.

        Again until it has a try in hand, and on SQLite until no other thread of it is in a transaction (``pause``).
        """
        executions: list[Started] = []
        with self.meanwhile(lambda: executions.extend(self.begin(workflow, 4)), every=1.0):
            stop = partial(self._stop_at, f"{point}=stop@2", executions)
            wait_until(stop, timeout=60, what=f"{point}, with a try in hand")
        return executions

    def paused(self) -> list[int]:
        """The worker processes that stand still."""
        return [pid for pid in self.children() if psutil.Process(pid).status() == psutil.STATUS_STOPPED]

    def _stop_at(self, action: str, executions: list[Started]) -> bool:
        self.arm(action)
        self.wait_for_fault()
        time.sleep(0.2)  # as in ``pause``
        paused = self.paused()
        if (self.postgresql is not None or self.is_free()) and any(pid in paused for pid in self.busy(executions)):
            return True
        signal_all(paused, signal.SIGCONT)
        return False

    def busy(self, executions: Sequence[Started]) -> list[int]:
        """The process of each try that runs, by the ledger."""
        lines = self.lines(executions)
        ended = {(line.execution, line.task, line.attempt) for line in lines if line.what == "end"}
        return [line.pid for line in lines if (line.execution, line.task, line.attempt) not in ended]

    @contextlib.contextmanager
    def meanwhile(self, work: Callable[[], object], *, every: float, steadily: bool = False) -> Iterator[None]:
        """Do ``work`` again and again while the block runs; what it raises fails the test.

        It rests for ``every`` seconds each time; ``steadily``: it begins every so many seconds, however long it takes.
        """
        stop = threading.Event()

        def loop() -> None:
            due = time.monotonic() + every
            while not stop.wait(max(0.0, due - time.monotonic())):
                work()
                due = (due if steadily else time.monotonic()) + every

        with ThreadPoolExecutor(1) as pool:
            looping = pool.submit(loop)
            try:
                yield
            finally:
                stop.set()
        looping.result()

    @property
    def now_sql(self) -> str:
        """The database's clock, as its columns hold it."""
        return "now()" if self.postgresql is not None else "strftime('%Y-%m-%d %H:%M:%f', 'now')"

    def deliver_again(self, times: Counter[str]) -> None:
        """All jobs once more that are not due: they are to be looked at now, whoever is at it.

        ``times``: how often each was delivered again. No more than ``AGAIN``: a slow machine would do nothing else.
        """
        held = self.sql(
            f"SELECT id FROM executions_execution WHERE {ALIVE} AND (wake_at IS NULL OR wake_at > {self.now_sql})"
        )
        if wanted := [key for (key,) in held if times[key] < AGAIN]:
            ids = ", ".join(f"'{key}'" for key in wanted)
            again = f"UPDATE executions_execution SET wake_at = {self.now_sql} WHERE id IN ({ids}) AND {ALIVE}"
            times.update(key for (key,) in self.sql(f"{again} RETURNING id"))
        if self.postgresql is not None:  # on SQLite the write was the bell
            self.sql("SELECT pg_notify('dataflow_work', ''), pg_notify('dataflow_deliveries', '')")

    def silence_bells(self) -> int:
        """Cut whoever listens for notifications, so that what is told meanwhile is lost; how many that were."""
        listening = "datname = current_database() AND query LIKE 'LISTEN %dataflow_%'"
        return len(self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {listening}"))

    def kills(self, seed: int) -> tuple[Callable[[], None], list[int]]:
        """What kills one worker process, and whom it killed; nobody while fewer than two are at work.

        (Where a start takes longer than the next kill takes to come, nothing would ever be done.) Whoever has a try in
        hand that two workers died with is spared: a third death is ``worker_lost`` by contract. It stands still while
        that is looked up, so that it cannot take such a one meanwhile.
        """
        chance, killed = random.Random(seed), []

        def kill_one() -> None:
            children = self.children()
            if len(self._at_work(children)) < 2:
                return
            chance.shuffle(children)
            for pid in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim = psutil.Process(pid)
                    victim.suspend()
                    if pid in self._holders("t.lost >= 2"):
                        victim.resume()
                        continue
                    victim.kill()
                    killed.append(pid)
                    return

        return kill_one, killed

    def end_some_sessions(self) -> int:
        """End about a third of the sessions that PostgreSQL has of this installation; how many that were."""
        others = "datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.3"
        return len(self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))

    # --- order again ---
    def heal(self) -> None:
        """Everything runs as it should: for the next test."""
        self.fail_file.unlink(missing_ok=True)
        self._taken.unlink(missing_ok=True)
        for name in [name for name in self.stack.commands if name.startswith("worker") and name not in CLUSTERS]:
            self.stack.end(name)
        for name in CLUSTERS:
            self.stack.commands.setdefault(name, worker_command())
        if self.postgresql is not None:
            self.postgresql.start()
        self.stack.restart()
        self.wait_for_workers()

    def wait_for_workers(self) -> None:
        """Wait until every worker process is there and at work: it has shown itself in the database."""
        wait_until(self._complete, timeout=60, what="every cluster is at work", every=0.2)

    def _complete(self) -> bool:
        wanted = PROCESSES * sum(name.startswith("worker") for name in self.stack.commands)
        running = self.children()
        return len(running) == wanted and len(self._at_work(running)) == wanted

    def _at_work(self, pids: Sequence[int]) -> list[int]:
        """Which of these processes run and have shown themselves in the database."""
        running = [pid for pid in pids if psutil.pid_exists(pid) and is_running(psutil.Process(pid))]
        wanted = ", ".join(map(str, running)) or "0"
        return [int(pid) for (pid,) in self.sql(f"SELECT DISTINCT pid FROM executions_worker WHERE pid IN ({wanted})")]

    def survivors(self) -> list[str]:
        """Processes of this installation that are there, whoever is their parent."""
        mine = str(self.stack.folder / "data")
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                if process.environ().get("DATA_DIR") == mine and is_running(process):
                    found.append(f"{process.pid} {' '.join(process.cmdline())}")
        return found
