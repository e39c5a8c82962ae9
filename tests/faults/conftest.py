"""``rig``: an installation that a test may ill-treat. It is the same for all tests, until one of them fails."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator

import pytest

from tests.faults import invariants
from tests.faults.rig import Rig
from tests.plugins.own_postgresql import OwnPostgres
from tests.stubs.tcp_proxy import TcpProxy
from tests.stubs.web_stub import WebStub

_FAILED = pytest.StashKey[bool]()
#: The invariants look at every execution that a rig has had: with more than that it is cheaper to make another.
_ENOUGH = 1500


class _Holder:
    """The rig there is, and what goes with it."""

    def __init__(self, factory: pytest.TempPathFactory, postgresql: OwnPostgres | None) -> None:
        self.rig: Rig | None = None
        self._factory, self._postgresql = factory, postgresql
        self._parts = contextlib.ExitStack()

    def get(self) -> Rig:
        if self.rig is not None and self.rig.sql("SELECT count(*) FROM executions_execution")[0][0] > _ENOUGH:
            self.end()
        if self.rig is None:
            receiver = self._parts.enter_context(WebStub())
            proxy = self._parts.enter_context(TcpProxy(self._postgresql.port)) if self._postgresql else None
            self.rig = Rig(self._factory.mktemp("faults"), receiver, self._postgresql, proxy)
            self._parts.callback(self.rig.stack.stop)
            self.rig.stack.start()
        self.rig.heal()
        return self.rig

    def end(self) -> None:
        """Stop it, and see that nothing stays of it."""
        try:
            if self.rig is not None:
                self.rig.heal()
                invariants.check_stopped(self.rig)
        finally:
            self.drop()

    def drop(self) -> None:
        self._parts.close()
        self.rig = None


@pytest.fixture(scope="session")
def _postgresql() -> Iterator[OwnPostgres | None]:
    if not os.environ["DATABASE_URL"]:
        yield None
        return
    server = OwnPostgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _holder(tmp_path_factory: pytest.TempPathFactory, _postgresql: OwnPostgres | None) -> Iterator[_Holder]:
    holder = _Holder(tmp_path_factory, _postgresql)
    yield holder
    holder.end()


@pytest.fixture
def rig(_holder: _Holder, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Two clusters of two worker processes, all well. After a failed test the next one gets a new rig."""
    yield _holder.get()
    if request.node.stash.get(_FAILED, False):
        if _holder.rig is not None and _holder.rig.postgresql is not None:
            _holder.rig.postgresql.start()
        _holder.drop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report
