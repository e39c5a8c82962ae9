"""A real Chromium: the machine's own, else Playwright's, else Debian's. Without one the tests say loudly that they did not run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, sync_playwright

_NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
#: As root there is no sandbox; the rest keeps Chromium from calling home.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_INSTALL_TIMEOUT = 600
_NONE = "no Chromium was found or could be installed: the browser tests DID NOT RUN"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, headless. Skips, or fails under CI, where there is none."""
    # Playwright keeps an event loop in this thread, which Django would take for async code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        if (path := _chromium(playwright)) is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(_NONE)
        running = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def page_problems() -> list[str]:
    """What went wrong in ``page`` so far; a test that expects some empties it."""
    return []


@pytest.fixture
def page(browser: Browser, page_problems: list[str]) -> Iterator[Page]:
    """A page in a fresh profile. The test fails on a console error, a script error, or a request off the origin."""
    context = browser.new_context(locale="en-GB", timezone_id="UTC")
    page = context.new_page()
    origins: set[str] = set()

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            page_problems.append(f"console: {message.text}")

    def on_request(request: Request) -> None:
        if request.url.startswith(("http:", "https:")):
            origins.add("/".join(request.url.split("/")[:3]))

    page.on("console", on_console)
    page.on("pageerror", lambda error: page_problems.append(f"script: {error}"))
    page.on("request", on_request)
    yield page
    context.close()
    assert not page_problems
    assert len(origins) <= 1, f"requests left the origin: {origins}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the very end when the browser tests were left out."""
    if any(_NONE in str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_sep("!", _NONE, red=True, bold=True)


def _chromium(playwright: Playwright) -> Path | None:
    if (path := _on_path()) is not None:
        return path
    own = Path(playwright.chromium.executable_path)
    if own.exists():
        return own
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
    return _on_path()


def _on_path() -> Path | None:
    found = (shutil.which(name) for name in _NAMES)
    return next((Path(path) for path in found if path), None)


def _install() -> None:
    """Install Debian's Chromium, one process at a time: apt-get does not wait for another one's lock, it fails."""
    with (Path(tempfile.gettempdir()) / "dataflow-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _on_path() is None:
            _apt_install()


def _apt_install() -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium", "fonts-dejavu-core"]
    for command in (["apt-get", "update", "-q"], install):
        subprocess.run(command, env=environment, timeout=_INSTALL_TIMEOUT, check=False, stdout=subprocess.DEVNULL)
