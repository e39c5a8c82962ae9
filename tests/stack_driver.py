"""What tests do to a running installation: start workflows, look into its database, kill its processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg

from tests.plugins.stack import Stack, signal_all, tree, wait_until


def download(name: str, url: str, **more: Any) -> dict[str, Any]:
    """A task that fetches a page."""
    return {"name": name, "type": "web.download", "inputs": {"url": url}} | more


@dataclass(frozen=True, slots=True)
class Started:
    """An execution by its ids."""

    workflow: str
    id: str


class Installation:
    """A stack and what can be done to it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    # --- workflows ---
    def workflow(self, *tasks: Mapping[str, Any], **fields: Any) -> str:
        """Create a workflow; gives its id."""
        document = {"title": "T", "tasks": list(tasks), **fields}
        return str(self.stack.post("/workflows", document)["workflow_id"])

    def start(self, workflow: str, *, key: str | None = None, **body: Any) -> Started:
        """Start an execution."""
        headers = {"X-OpenAI-Key": key} if key else {}
        answer = self.stack.post(f"/workflows/{workflow}/executions", {"inputs": {}} | body, headers=headers)
        return Started(workflow, str(answer["workflow_execution_id"]))

    def run(self, *tasks: Mapping[str, Any], **fields: Any) -> Started:
        """Create a workflow and start it."""
        return self.start(self.workflow(*tasks, **fields))

    def state(self, started: Started) -> Any:
        """The execution as the API shows it."""
        return self.stack.get(f"/workflows/{started.workflow}/executions/{started.id}")

    def task(self, started: Started, name: str) -> Any:
        """One task of it."""
        return next(task for task in self.state(started)["tasks"] if task["name"] == name)

    def end_of(self, started: Started, *, timeout: float = 30.0) -> Any:
        """The execution once it has ended."""
        return self.stack.wait_for_execution(started.workflow, started.id, timeout=timeout)

    def cancel(self, started: Started) -> None:
        self.stack.post(f"/workflows/{started.workflow}/executions/{started.id}/cancel", {})

    # --- the database ---
    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement on the installation's database; the rows of a SELECT."""
        if url := self.stack.environment["DATABASE_URL"]:
            with psycopg.connect(url) as postgresql:
                cursor = postgresql.execute(statement.encode())
                return list(cursor.fetchall()) if cursor.description else []
        with closing(sqlite3.connect(self.stack.folder / "data" / "db.sqlite3", timeout=20)) as sqlite, sqlite:
            return list(sqlite.execute(statement).fetchall())

    def alive(self, executions: Sequence[Started]) -> int:
        """How many of them have not ended."""
        ids = ", ".join(f"'{one.id}'" for one in executions)
        found = self.sql(
            f"SELECT count(*) FROM executions_execution WHERE id IN ({ids}) AND status IN ('PENDING', 'RUNNING')"
        )
        return int(found[0][0])

    def all_end(self, executions: Sequence[Started], *, timeout: float = 60.0) -> None:
        """Wait until all have ended."""
        wait_until(lambda: not self.alive(executions), timeout=timeout, what=f"{len(executions)} executions end")

    def tasks(self, executions: Sequence[Started]) -> dict[tuple[str, str], tuple[str, int, int]]:
        """``(execution, task)`` to status, attempt and lost, where there is a row."""
        ids = ", ".join(f"'{one.id}'" for one in executions)
        rows = self.sql(
            f"SELECT execution_id, name, status, attempt, lost FROM executions_taskrun WHERE execution_id IN ({ids})"
        )
        return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}

    def statuses(self, executions: Sequence[Started]) -> set[str]:
        """The statuses they have."""
        ids = ", ".join(f"'{one.id}'" for one in executions)
        return {row[0] for row in self.sql(f"SELECT status FROM executions_execution WHERE id IN ({ids})")}

    def expire_leases(self, condition: str = "1 = 1") -> None:
        """As if the leases of what runs had not been renewed for long."""
        self.sql(
            f"UPDATE executions_taskrun SET lease_until = attempt_started_at WHERE status = 'RUNNING' AND {condition}"
        )

    def expire_waits(self) -> None:
        """As if the time to ring again for what is ready had come."""
        self.sql("UPDATE executions_execution SET wake_at = created_at WHERE status IN ('PENDING', 'RUNNING')")

    # --- processes ---
    @property
    def worker_pids(self) -> list[int]:
        """The worker processes, without the one that keeps them alive; the sweeping one first."""
        return self.stack.pids("worker")[1:]

    def kill_one_worker(self, place: int) -> None:
        """``kill -9`` of one worker process; waits until it is replaced, then as if its lost leases had been found."""
        before = self.worker_pids
        os.kill(before[place], signal.SIGKILL)
        wait_until(lambda: self._replaced(before), timeout=15, what="the killed worker process is replaced")
        worker = f"(SELECT id FROM executions_worker WHERE pid = {before[place]})"
        self.expire_leases(f"worker IN {worker}")
        self.expire_waits()

    def pause(self, pids: Sequence[int], *, enough: Callable[[], bool] = lambda: True) -> None:
        """SIGSTOP at a moment when ``enough`` says yes, and none of them is in a transaction.

        One that is holds up SQLite for as long as it stands still, and PostgreSQL for 30 s (the session's time limit).
        """

        def stands_still() -> bool:
            # Not before: whoever stands still most of the time gets nothing into its hands.
            if not enough():
                return False
            signal_all(pids, signal.SIGSTOP)
            time.sleep(0.2)  # what others are at comes to its end
            if self.is_free() and enough():
                return True
            signal_all(pids, signal.SIGCONT)
            return False

        wait_until(stands_still, timeout=60, what="they have enough in hand, and no transaction", every=0.5)

    def is_free(self) -> bool:
        """Whether nobody stands still in a transaction."""
        if self.stack.environment["DATABASE_URL"]:
            # Who is not paused begins new ones all the time, and ends them.
            stay = self._transactions()
            for _ in range(8):
                if not stay:
                    return True
                time.sleep(0.1)
                stay &= self._transactions()
            return False
        try:
            with closing(sqlite3.connect(self.stack.folder / "data" / "db.sqlite3", timeout=0.3)) as database:
                database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True

    def _transactions(self) -> set[tuple[Any, ...]]:
        """Those of PostgreSQL in which nothing happens at the moment."""
        idle = "datname = current_database() AND state LIKE 'idle in transaction%'"
        return set(self.sql(f"SELECT pid, xact_start FROM pg_stat_activity WHERE {idle}"))

    def _replaced(self, before: Sequence[int]) -> bool:
        now = [process.pid for process in tree(self.stack.processes["worker"].pid)[1:] if is_running(process)]
        return len(now) == len(before) and set(now) != set(before)


def is_running(process: psutil.Process) -> bool:
    """Whether it runs; one that nobody has collected yet does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
