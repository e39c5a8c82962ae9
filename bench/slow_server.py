"""A web server on loopback that answers ``GET /SECONDS`` after so many seconds, to hundreds at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress


@contextmanager
def slow_server() -> Iterator[str]:
    """Its address, without the last slash."""
    up: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(up)), daemon=True)
    thread.start()
    port, loop, over = up.result(10)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def _serve(up: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    over = asyncio.Event()
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=1024)
    up.set_result((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), over))
    await over.wait()
    server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        head = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(float(head.split(b" ", 2)[1].strip(b"/")))
        lines = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        writer.write(lines)
        await writer.drain()
    writer.close()
