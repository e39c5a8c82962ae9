"""Processes of a measurement: what they cost, and how they end."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator

import psutil

_STOP_SECONDS = 30.0


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU that these processes, their children and the children they have reaped have used so far."""
    return sum(_cpu(process) for process in tree(pids))


def memory(pids: Iterable[int], *, kind: str = "pss") -> float:
    """MB of these processes and their children. ``pss`` shares out what several map; ``rss`` counts it each time."""
    total = 0
    for process in tree(pids):
        try:
            total += getattr(process.memory_full_info() if kind == "pss" else process.memory_info(), kind)
        except psutil.NoSuchProcess:
            continue
    return total / 1e6


def tree(pids: Iterable[int]) -> Iterator[psutil.Process]:
    """These processes and all below them that live."""
    for pid in pids:
        try:
            root = psutil.Process(pid)
            yield from [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def stop(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """End processes with grace, then without."""
    for process in (stopped := list(processes)):
        process.send_signal(signal.SIGTERM)
    for process in stopped:
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
