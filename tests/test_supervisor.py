"""The supervisor with small real processes: order of ending, restarts, groups, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dataflow.supervisor import Child, ChildFailed, StopSwitch, Supervisor
from tests.plugins.stack import ROOT, wait_until

pytestmark = pytest.mark.any_database

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with StopSwitch() as switch:
        switch.interrupting = False
        made = Supervisor(environment=dict(os.environ), switch=switch, report=lambda _line: None, grace=5.0)
        try:
            yield made
        finally:
            made.stop()


def pid_of(child: Child) -> int:
    assert child.process is not None
    return child.process.pid


def test_children_share_a_group_of_their_own(supervisor: Supervisor) -> None:
    groups = {os.getpgid(pid_of(supervisor.start(name, SLEEP))) for name in ("one", "two")}
    assert len(groups) == 1
    assert groups != {os.getpgrp()}


def test_a_child_that_dies_is_started_again_and_said_so(supervisor: Supervisor) -> None:
    lines: list[str] = []
    supervisor.report = lines.append
    child = supervisor.start("sleeper", SLEEP)
    first = pid_of(child)
    os.kill(first, signal.SIGKILL)
    assert supervisor.wait_for(lambda: child.is_running and pid_of(child) != first, timeout=10)
    assert lines == ["the sleeper process ended with -9; starting it again in 1 s"]


def test_delays_grow(supervisor: Supervisor) -> None:
    lines: list[str] = []
    supervisor.report = lines.append
    supervisor.start("dud", [sys.executable, "-c", "raise SystemExit(3)"])
    supervisor.wait_for(lambda: len(lines) == 2, timeout=15)
    assert [line.rsplit(" in ", 1)[1] for line in lines] == ["1 s", "2 s"]


def test_a_child_that_keeps_dying_while_starting_is_given_up(supervisor: Supervisor) -> None:
    supervisor.start("dud", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ChildFailed, match="dud process ended 2 times"):
        supervisor.wait_for(lambda: False, timeout=15, deaths=2)


def test_a_signal_ends_waiting_and_running(supervisor: Supervisor) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    assert supervisor.wait_for(lambda: True, timeout=10) is False
    supervisor.run()
    assert supervisor.switch.pressed == 1


def test_a_signal_while_preparing_ends_at_once_with_0() -> None:
    with StopSwitch(), pytest.raises(SystemExit) as raised:
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.code == 0


def test_stop_kills_what_ignores_it_and_its_children(supervisor: Supervisor, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = textwrap.dedent(f"""
        import pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        pathlib.Path({str(note)!r}).write_text(f"{{child.pid}}.")
        time.sleep(60)
    """)
    child = supervisor.start("stubborn", [sys.executable, "-c", program])
    assert supervisor.wait_for(lambda: note.exists() and note.read_text().endswith("."), timeout=10)
    supervisor.grace = 0.3
    supervisor.stop()
    assert not child.is_running
    wait_until(lambda: not is_alive(int(note.read_text().rstrip("."))), timeout=5, what="the grandchild is gone")


def test_kill_9_of_the_supervisor_takes_its_children_along() -> None:
    program = textwrap.dedent(f"""
        import os, sys
        from dataflow.supervisor import StopSwitch, Supervisor
        supervisor = Supervisor(environment=dict(os.environ), switch=StopSwitch(), report=print)
        child = supervisor.start("sleeper", {SLEEP!r})
        print(child.process.pid, flush=True)
        supervisor.run()
    """)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_until(lambda: "time.sleep" in " ".join(psutil.Process(child).cmdline()), timeout=5, what="the child runs")
        parent.kill()
    wait_until(lambda: not is_alive(child), timeout=5, what="the child is gone")


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has collected yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
