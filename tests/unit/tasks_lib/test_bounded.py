"""Running other programs: their limits, what is kept of what they say, and that nothing of them is left."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.clients import bounded
from tasks_lib.clients.bounded import Finished, Limits

PR_SET_CHILD_SUBREAPER = 36
#: Starts a child of its own, tells both numbers, and stays.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
#: A worker that runs the above in a thread, as workers do.
WORKER = """
import sys, threading
from pathlib import Path
from dataflow.lib.cancellation import Cancellation
from tasks_lib.clients.bounded import Limits, run
def work():
    run([sys.executable, "-c", sys.argv[1]], folder=Path(sys.argv[2]), cancellation=Cancellation(), limits=Limits(),
        on_line=lambda line: print(line, flush=True))
threading.Thread(target=work).start()
"""


def python(source: str, folder: Path, **options: object) -> Finished:
    given = {"cancellation": Cancellation(30), "limits": Limits()} | options
    return bounded.run([sys.executable, "-I", "-c", source], folder=folder, **given)


def wait_until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not fact() and time.monotonic() < end:
        time.sleep(0.02)
    assert fact()


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_runs(tmp_path: Path) -> None:
    source = "import os, sys; print(os.getcwd(), sys.stdin.read()); print('bad', file=sys.stderr); sys.exit(3)"
    done = python(source, tmp_path, stdin=b"given")
    assert done == Finished(code=3, stdout=f"{tmp_path} given\n", stderr="bad\n")
    assert list(tmp_path.iterdir()) == []


def test_its_environment_is_what_it_is_given(tmp_path: Path) -> None:
    given = {"LC_ALL": "C.UTF-8", "ONLY": "this"}
    source = "print(sorted(open('/proc/self/environ').read().strip(chr(0)).split(chr(0))))"
    assert python(source, tmp_path, environment=given).stdout == "['LC_ALL=C.UTF-8', 'ONLY=this']\n"
    assert python(source, tmp_path).stdout == "['']\n"


def test_it_has_no_descriptors_of_ours(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as ours:
        os.set_inheritable(ours.fileno(), True)
        assert (
            python("import os; print(sorted(os.listdir('/proc/self/fd')))", tmp_path).stdout == "['0', '1', '2', '3']\n"
        )


def test_a_signal_is_a_negative_code(tmp_path: Path) -> None:
    assert python("import os; os.kill(os.getpid(), 15)", tmp_path).code == -signal.SIGTERM


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="/no/such/thing") as raised:
        bounded.run(["/no/such/thing"], folder=tmp_path, cancellation=Cancellation(), limits=Limits())
    assert raised.value.code == "runtime"


@pytest.mark.parametrize(
    ("source", "limits", "name"),
    [
        ("while True: pass", Limits(cpu_seconds=1), "its limit of CPU time"),
        (
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open('x', 'wb').write(bytes(100_000))",
            Limits(file_size=1000),
            "the limit of one file's size",
        ),
    ],
)
@pytest.mark.slow
def test_a_broken_limit_has_a_name(tmp_path: Path, source: str, limits: Limits, name: str) -> None:
    assert python(source, tmp_path, limits=limits).broken_limit == name


def test_its_memory_is_bounded(tmp_path: Path) -> None:
    done = python("bytearray(300_000_000)", tmp_path, limits=Limits(address_space=200_000_000))
    assert done.code == 1
    assert "MemoryError" in done.stderr


def test_it_has_no_network_where_the_kernel_lets_it_go(tmp_path: Path) -> None:
    source = "import os; print(os.readlink('/proc/self/ns/net'))"
    ours = str(Path("/proc/self/ns/net").readlink())
    may_leave = subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode == 0
    assert (python(source, tmp_path).stdout.strip() != ours) == may_leave
    assert python(source, tmp_path, network=True).stdout.strip() == ours


def test_long_output_keeps_its_ends(tmp_path: Path) -> None:
    source = "import sys; sys.stdout.write('begin' + 'x' * 5_000_000 + 'end')"
    said = python(source, tmp_path).stdout
    assert said.startswith("begin")
    assert said.endswith("end")
    assert len(said) < 300_000


def test_lines_come_as_they_are_said(tmp_path: Path) -> None:
    """The program goes on only when its first line has been heard."""
    lines = []

    def hear(line: str) -> None:
        lines.append(line)
        (tmp_path / "heard").touch()

    source = (
        "import os, sys, time\nprint('first', end='\\r', flush=True)\n"
        "while not os.path.exists('heard'): time.sleep(0.01)\nsys.stderr.write('second'); print('y' * 100_000)"
    )
    python(source, tmp_path, on_line=hear)
    assert sorted(lines) == ["first", "second", "y" * bounded.LINE_LENGTH]


def test_what_a_listener_raises_ends_it(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        raise TaskError("too_large", line)

    with pytest.raises(TaskError, match="enough"):
        python("import time; print('enough', flush=True); time.sleep(600)", tmp_path, on_line=refuse)


def test_what_it_leaves_behind_is_killed(tmp_path: Path) -> None:
    source = FAMILY.replace("\ntime.sleep(600)\n", "\n")
    _, child = map(int, python(source, tmp_path).stdout.split())
    wait_until(lambda: is_gone(child))


def test_cancelling_kills_it_and_what_it_started(tmp_path: Path) -> None:
    cancellation = Cancellation(60)
    family = []

    def cancel(line: str) -> None:
        family.extend(map(int, line.split()))
        threading.Thread(target=cancellation.stop, args=[TaskError("cancelled", "stop")]).start()

    with pytest.raises(TaskError, match="stop"):
        python(FAMILY, tmp_path, cancellation=cancellation, on_line=cancel)
    assert len(family) == 2
    wait_until(lambda: all(map(is_gone, family)))


def test_there_is_nobody_to_bury(tmp_path: Path) -> None:
    """In a container without an init, what is killed and not waited for stays a zombie for ever."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0  # now orphans come to us
    try:
        with pytest.raises(TaskError):
            python("import time; time.sleep(600)", tmp_path, cancellation=Cancellation(0.5))
        zombies = [one for one in psutil.Process().children() if one.status() == psutil.STATUS_ZOMBIE]
        assert zombies == []
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.parametrize(("task", "program"), [(0.5, 600), (None, 0.5)])
def test_the_deadline_kills_it(tmp_path: Path, task: float | None, program: float) -> None:
    with pytest.raises(TaskError) as raised:
        python(
            "import time; time.sleep(600)", tmp_path, cancellation=Cancellation(task), limits=Limits(timeout=program)
        )
    assert (raised.value.code, raised.value.retryable) == ("timeout", True)


@pytest.mark.processes
@pytest.mark.parametrize("victim", ["worker", "guardian"])
def test_nothing_outlives_a_killed_worker(tmp_path: Path, victim: str) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, FAMILY, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    with worker:
        program, child = map(int, worker.stdout.readline().split())
        guardian = psutil.Process(program).ppid()
        assert guardian != worker.pid
        os.kill(worker.pid if victim == "worker" else guardian, signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, (program, child, guardian))))
