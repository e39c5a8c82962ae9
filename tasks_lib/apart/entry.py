"""The beginning of a reader's process: takes the order, calls the reader, leaves the answer in the folder.

A reader is a module beside this one with ``work(order) -> dict``; it finds its input as ``SOURCE`` in the current
folder. What a library raises is not caught: the process ends with it, and who started it says so.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from dataflow.lib.errors import TaskError

#: Names in the private folder: what is to be read, and what the reader says of it.
SOURCE, ANSWER = "source", "answer.json"
#: Said before the file is looked at: what goes wrong earlier is no fault of the file.
READING = "reading"


def main(reader: str) -> None:
    """Run one reader; its order stands on the standard input as JSON."""
    order = json.load(sys.stdin)
    work = import_module(f"tasks_lib.apart.{reader}").work
    sys.stdout.write(f"{READING}\n")
    sys.stdout.flush()
    try:
        answer = {"result": work(order)}
    except TaskError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    Path(ANSWER).write_text(json.dumps(answer), encoding="utf-8")
