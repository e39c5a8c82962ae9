"""Installations of real processes: ``stack`` for tests that only add to it, ``fragile`` for those that kill and stop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugins.stack import running_stack
from tests.stack_driver import Installation
from tests.stubs.openai_stub import OpenAIStub
from tests.stubs.watched_stub import WatchedStub


@pytest.fixture
def web() -> Iterator[WatchedStub]:
    """A web server that knows how many ask it at once and who hangs up."""
    with WatchedStub() as stub:
        yield stub


@pytest.fixture(scope="session")
def openai() -> Iterator[OpenAIStub]:
    with OpenAIStub() as stub:
        yield stub


@pytest.fixture(scope="session")
def stack(openai: OpenAIStub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two worker processes, and the OpenAI stub as the provider; no key but the caller's."""
    environment = {"WORKERS": "2", "OPENAI_BASE_URL": openai.base_url}
    with running_stack(tmp_path_factory.mktemp("stack"), environment) as started:
        yield Installation(started)


@pytest.fixture(scope="session")
def _fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    environment = {"WORKERS": "2", "WORKER_THREADS": "8"}
    with running_stack(tmp_path_factory.mktemp("fragile"), environment) as started:
        yield Installation(started)


@pytest.fixture
def fragile(_fragile: Installation) -> Installation:
    """Two worker processes of eight threads, running; whatever the test does to them, the next one finds them so."""
    _fragile.stack.restart()
    return _fragile
