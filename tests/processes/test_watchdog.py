"""The cluster looks after its processes: one that lives and takes no work is replaced."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.plugins.stack import wait_until
from tests.stack_driver import Installation, download, is_running
from tests.stubs.watched_stub import WatchedStub

pytestmark = [pytest.mark.slow, pytest.mark.processes]
#: Seconds: longer than a process is silent, busy or idle, and shorter than it is between two signs of life.
SILENCE = 8.0
#: ``manage.py worker`` with less patience.
IMPATIENT = f"""
import os, django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dataflow.settings")
django.setup()
from django.core.management import call_command
from executions.worker import cluster
cluster.SILENCE_SECONDS = {SILENCE}
call_command("worker")
"""


@pytest.fixture
def impatient(fragile: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """Workers whose cluster waits for a silent process for a few seconds, not for a minute."""
    fragile.stack.kill_workers()
    with monkeypatch.context() as patched:
        patched.setitem(fragile.stack.commands, "worker", [sys.executable, "-c", IMPATIENT])
        fragile.stack.restart()
        wait_until(lambda: len(shown(fragile)) == 2, timeout=15, what="the worker processes have begun")
        yield fragile
        fragile.stack.kill_workers()


def shown(installation: Installation) -> list[str]:
    """The last signs of life of the worker processes that are there now."""
    pids = ", ".join(map(str, installation.worker_pids)) or "0"
    found = installation.sql(f"SELECT heartbeat_at FROM executions_worker WHERE pid IN ({pids})")
    return sorted(str(moment) for (moment,) in found)


def beats_after(installation: Installation, moment: str) -> str:
    """Wait until every process has given a sign of life after ``moment``; the last one."""
    wait_until(lambda: shown(installation)[0] > moment, timeout=30, what="each gives a sign of life", every=0.5)
    return shown(installation)[-1]


def test_a_process_that_hangs_is_killed_and_replaced(impatient: Installation, web: WatchedStub) -> None:
    before = impatient.worker_pids
    os.kill(before[1], signal.SIGSTOP)
    stopped = psutil.Process(before[1])
    wait_until(lambda: not is_running(stopped), timeout=SILENCE + 15, what="the process that hangs is killed")

    def others() -> list[int]:  # until its parent has taken note of it, who was killed is listed too
        return [pid for pid in impatient.worker_pids if pid != before[1]]

    wait_until(lambda: len(others()) == 2, timeout=15, what="it is replaced")
    assert before[0] in others()
    executions = [impatient.run(download("page", web.url(f"/counted/{number}"))) for number in range(4)]
    impatient.all_end(executions)
    assert impatient.statuses(executions) == {"COMPLETED"}


def test_processes_that_are_busy_or_idle_are_left_alone(impatient: Installation, web: WatchedStub) -> None:
    """Every thread is taken for longer than the cluster's patience."""
    before = impatient.worker_pids
    workflow = impatient.workflow(download("page", web.url("/held/page")))
    executions = [impatient.start(workflow) for _ in range(20)]
    wait_until(lambda: web.now == 16, timeout=20, what="every thread waits for the web server")
    # The second one comes after more than the cluster's patience.
    beats_after(impatient, beats_after(impatient, shown(impatient)[-1]))
    assert impatient.worker_pids == before
    web.release()
    impatient.all_end(executions)
    assert impatient.statuses(executions) == {"COMPLETED"}
    assert {attempt for _, attempt, _ in impatient.tasks(executions).values()} == {1}
