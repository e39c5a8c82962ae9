"""Short ways to call the way out in tests."""

from __future__ import annotations

from typing import Any

import pytest

from dataflow.lib.egress import Egress, Response
from dataflow.lib.errors import TaskError

#: What the stub servers need.
OPEN = Egress(allow_loopback=True)


def fetch(egress: Egress, url: str, **options: Any) -> tuple[Response, bytes]:
    with egress.request(options.pop("method", "GET"), url, **options) as response:
        return response, response.read()


def failure(egress: Egress, url: str, **options: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        fetch(egress, url, **options)
    return raised.value
