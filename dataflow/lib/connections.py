"""urllib3 connections whose sockets come from us: checked address, total deadline, interruptible.

The name stays on the connection, so the Host header, SNI and the certificate check are as always.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

#: Gives a connected socket to a host and port, or raises ``TaskError`` or ``OSError``.
Opener = Callable[[str, int], socket.socket]


class _PlainConnection(HTTPConnection):
    opener: Opener

    def _new_conn(self) -> socket.socket:
        return self.opener(self.host, self.port or 80)


class _TlsConnection(HTTPSConnection):
    opener: Opener

    def _new_conn(self) -> socket.socket:
        return self.opener(self.host, self.port or 443)


class CheckedPools(PoolManager):
    """A pool manager that opens every connection with ``opener``."""

    def __init__(self, opener: Opener, **options: Any) -> None:
        super().__init__(**options)
        # urllib3 makes connections from classes, so each manager has its own that know their opener.
        plain = type("_Plain", (_PlainConnection,), {"opener": staticmethod(opener)})
        tls = type("_Tls", (_TlsConnection,), {"opener": staticmethod(opener)})
        self.pool_classes_by_scheme = {
            "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("_TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
        }
