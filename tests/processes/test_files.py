"""Files through real processes: a large one is never in any process's memory, half of one is never taken for it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from bench.files import LIMIT_MB, MEBIBYTES, through_a_workflow
from tests.plugins.stack import StackFactory, wait_until
from tests.stack_driver import Installation

pytestmark = [pytest.mark.slow, pytest.mark.processes]


@pytest.mark.timeout(600)
def test_512_mib_through_a_workflow(make_stack: StackFactory) -> None:
    """Uploaded, packed and sent on by tasks, downloaded, whole and by range: every process stays under 300 MB."""
    stack = make_stack(WORKERS="2")
    peaks = through_a_workflow(stack.port, {name: stack.processes[name].pid for name in ("web", "worker")}, MEBIBYTES)
    assert max(peaks.values()) < LIMIT_MB, peaks
    assert not list((stack.folder / "data" / "incoming").iterdir())


def test_an_upload_that_is_cut_off_leaves_nothing(stack: Installation) -> None:
    data = Path(stack.stack.environment["DATA_DIR"])
    before = stack.sql("SELECT count(*) FROM executions_storedfile")
    head = b'--boundary\r\nContent-Disposition: form-data; name="f"; filename="half.bin"\r\n\r\n'
    request = b"POST /files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=boundary\r\n"
    with socket.create_connection(("127.0.0.1", stack.stack.port)) as connection:
        connection.sendall(request + b"Content-Length: 50000000\r\n\r\n" + head + bytes(5_000_000))
        wait_until(lambda: any((data / "incoming").iterdir()), timeout=20, what="it is being received")
    wait_until(lambda: not any((data / "incoming").iterdir()), timeout=20, what="what came is deleted")
    time.sleep(0.2)
    assert stack.sql("SELECT count(*) FROM executions_storedfile") == before
    assert "Traceback" not in stack.stack.log()
