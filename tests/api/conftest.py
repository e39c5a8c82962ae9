"""What the tests of the API share."""

from __future__ import annotations

import pytest

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
