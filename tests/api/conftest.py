"""What the tests of the API share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executions import api as executions_api
from executions.waiters import Ends
from tests.api_client import Api
from tests.factories import make_workflow
from workflows.models import Workflow


@pytest.fixture
def api() -> Api:
    """A client on this machine."""
    return Api()


@pytest.fixture
def workflow(db: None) -> Workflow:
    """Three text tasks with the input ``text``."""
    return make_workflow()


@pytest.fixture(autouse=True)
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """Ends of executions as a process of its own would hear of them: its listener is gone when the database is."""
    made = Ends()
    monkeypatch.setattr(executions_api, "ENDS", made)
    yield made
    made.close()
