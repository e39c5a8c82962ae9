"""``python -m bench.floor``: the same commits by bare psycopg, with nothing around them: what the disk allows.

An execution is one INSERT and, for each further commit, one UPDATE of its row. Two such processes with ten callers each
stand against our two worker processes.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import psycopg

PROCESSES = 2
_TABLE = "CREATE TABLE IF NOT EXISTS bench_floor (id text PRIMARY KEY, step int NOT NULL, state jsonb NOT NULL)"
_STATE = json.dumps({"status": "RUNNING", "outputs": {"text": "!dlrow ,olleH"}})


def bare_loop(url: str, *, executions: int, clients: int, commits: int) -> float:
    """Executions a second of ``commits`` commits each, by ``clients`` callers in ``PROCESSES`` processes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLE)
    arguments = [url, str(executions // PROCESSES), str(clients // PROCESSES), str(commits)]
    command = [sys.executable, "-m", "bench.floor", *arguments]
    here = Path(__file__).resolve().parents[1]
    loops = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=here)
        for _ in range(PROCESSES)
    ]
    for loop in loops:
        _pipe(loop.stdout).readline()
    for loop in loops:
        _pipe(loop.stdin).write("go\n")
        _pipe(loop.stdin).flush()
    seconds = max(float(loop.communicate()[0]) for loop in loops)
    return executions // PROCESSES * PROCESSES / seconds


def _pipe(end: IO[str] | None) -> IO[str]:
    assert end is not None
    return end


def _loop(url: str, executions: int, clients: int, commits: int) -> None:
    connections = [psycopg.connect(url, autocommit=True) for _ in range(clients)]
    numbers = itertools.count()

    def caller(connection: psycopg.Connection) -> None:
        while next(numbers) < executions:
            key = uuid.uuid4().hex
            connection.execute("INSERT INTO bench_floor VALUES (%s, 0, %s)", [key, _STATE], prepare=True)
            for step in range(1, commits):
                values = [_STATE, key, step - 1]
                statement = "UPDATE bench_floor SET step = step + 1, state = %s WHERE id = %s AND step = %s"
                connection.execute(statement, values, prepare=True)

    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(caller, connections))
    print(time.perf_counter() - start)


if __name__ == "__main__":
    _loop(sys.argv[1], *map(int, sys.argv[2:]))
