"""What the browser tests share: a web server that can be slow, workflows, and the accessibility check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.plugins.stack import Stack
from tests.stubs.web_stub import WebStub


@pytest.fixture
def website() -> Iterator[WebStub]:
    """A web server on loopback."""
    with WebStub() as stub:
        yield stub


@pytest.fixture
def fetching() -> dict[str, Any]:
    """A workflow that fetches a page and measures it."""
    return {
        "title": "Fetch and measure",
        "inputs": [{"name": "url", "type": "text", "description": "Page to fetch"}],
        "tasks": [
            {"name": "fetch", "type": "web.download", "inputs": {"url": "{{inputs.url}}"}},
            {"name": "measure", "type": "text.size", "inputs": {"text": "{{tasks.fetch.outputs.html}}"}},
        ],
        "outputs": [{"name": "size", "type": "number", "value": "{{tasks.measure.outputs.size}}"}],
    }


@pytest.fixture
def started() -> Callable[..., tuple[str, str]]:
    """Create a workflow and start it: the ids of both."""

    def start(stack: Stack, document: dict[str, Any], **inputs: Any) -> tuple[str, str]:
        workflow = stack.post("/workflows", document)["workflow_id"]
        answer = stack.post(f"/workflows/{workflow}/executions", {"inputs": inputs})
        return workflow, answer["workflow_execution_id"]

    return start


@pytest.fixture
def assert_accessible() -> Callable[[Page], None]:
    """axe finds nothing on the page as it is now."""

    def check(page: Page) -> None:
        violations = Axe().run(page).response["violations"]
        found = [f"{v['id']}: {v['help']}: {[node['html'][:150] for node in v['nodes'][:3]]}" for v in violations]
        assert not found, f"{page.url}\n" + "\n".join(found)

    return check
