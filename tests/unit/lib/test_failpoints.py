"""Fail-points: off unless asked for, each acts once, and of several processes one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import OperationalError

from dataflow.lib.failpoints import Action, FailPoints, armed, failpoint, read, shortened

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a=kill", {"a": Action(kind="kill")}),
        ("a.b=kill@3, c=stop", {"a.b": Action(kind="kill", at=3), "c": Action(kind="stop")}),
        ("a=sleep:0.5", {"a": Action(kind="sleep", argument="0.5")}),
        ("a=raise:builtins.OSError@2", {"a": Action(kind="raise", argument="builtins.OSError", at=2)}),
    ],
)
def test_what_is_asked_for(text: str, expected: dict[str, Action]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize("text", ["a", "=kill", "a=die", "a=kill@x", "a=sleep", "a=sleep:long", "b=kill,a="])
def test_what_is_not_understood_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not like name=kill") as error:
        read(text)
    assert repr(text.rpartition(",")[2]) in str(error.value)


@pytest.mark.parametrize("debug", ["0", "", "false"])
def test_production_has_none(debug: str) -> None:
    assert armed({"DEBUG": debug, "DATAFLOW_FAILPOINTS": "a=kill"}) is None
    assert shortened(30, "SECONDS", {"DEBUG": debug, "SECONDS": "3"}) == 30


def test_development_has_none_unless_asked() -> None:
    assert armed({"DEBUG": "1"}) is None
    assert shortened(30, "SECONDS", {"DEBUG": "1"}) == 30
    failpoint("anything")


def test_a_time_may_be_shortened_for_a_test() -> None:
    assert shortened(30, "SECONDS", {"DEBUG": "1", "SECONDS": "3.5"}) == 3.5


def test_it_acts_once_at_the_pass_that_was_asked_for() -> None:
    points = FailPoints(read("a=raise@3"))
    for _ in range(2):
        points.passed("a")
        points.passed("b")
    with pytest.raises(OperationalError):
        points.passed("a")
    for _ in range(5):
        points.passed("a")


def test_an_error_of_another_kind() -> None:
    with pytest.raises(ConnectionResetError):
        FailPoints(read("a=raise:builtins.ConnectionResetError")).passed("a")


def test_of_several_processes_one_takes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "points"
    first, second = FailPoints({}, file), FailPoints({}, file)
    first.passed("a")
    file.write_text("a=raise@2")
    first.passed("a")
    second.passed("a")
    second.passed("b")
    with pytest.raises(OperationalError):
        second.passed("a")
    first.passed("a")
    assert file.with_name("points.taken").read_text() == "a=raise@2"
    file.write_text("a=raise")
    with pytest.raises(OperationalError):
        first.passed("a")


@pytest.mark.parametrize("spec", ["a=kill", "a=stop"])
def test_signals_reach_this_process(spec: str) -> None:
    program = "from dataflow.lib.failpoints import failpoint; failpoint('b'); failpoint('a'); print('went on')"
    environment = os.environ | {"DEBUG": "1", "DATAFLOW_FAILPOINTS": spec, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
    if spec == "a=stop":
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WSTOPSIG(status) == signal.SIGSTOP
        process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=20)
    assert (said, process.returncode) == ((b"", -signal.SIGKILL) if spec == "a=kill" else (b"went on\n", 0))
