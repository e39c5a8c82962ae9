"""A list that updates by itself keeps what the reader has ticked."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.plugins.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.slow]

#: Milliseconds: a list that shows something alive looks every second.
SOON = 20_000


def test_ticks_stay_when_the_list_changes(page, shared_stack: Stack, website, fetching, started):
    workflow, execution = started(shared_stack, fetching, url=website.page("/held", "x", delay=2))
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/executions")
    tick = page.locator(f"#tick-{execution}")
    tick.check()
    page.evaluate("window.neverReloaded = true")
    again = shared_stack.post(f"/workflows/{workflow}/executions", {"inputs": {"url": website.url("/held")}})
    expect(page.locator(f"#tick-{again['workflow_execution_id']}")).to_be_visible(timeout=SOON)
    expect(tick).to_be_checked()
    expect(page.locator(f"#tick-{again['workflow_execution_id']}")).not_to_be_checked()
    page.get_by_role("button", name="Run again", exact=True).click()
    expect(page.get_by_text("Started again: 1 of 1.")).to_be_visible()
