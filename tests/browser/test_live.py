"""What changes is shown without a reload, and what is open stays open."""

from __future__ import annotations

import re
import threading

import pytest
from playwright.sync_api import Page as BrowserPage
from playwright.sync_api import expect

from tests.plugins.stack import Stack, wait_until
from tests.stubs.web_stub import Page

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.slow]

#: Milliseconds: a worker starts, looks and works within that.
SOON = 20_000


def status(page: BrowserPage):
    return page.locator("#part-status .chip.big")


def test_pending_running_completed_without_a_reload(page, live_stack: Stack, website, fetching, started):
    live_stack.kill_workers()
    answered = threading.Event()
    address = website.script("/slow", [Page(body=b"<p>12345</p>", gate=answered)])
    workflow, execution = started(live_stack, fetching, url=address)
    page.goto(f"{live_stack.base_url}/workflows/{workflow}/executions/{execution}")
    page.evaluate("window.neverReloaded = true")
    seen = [status(page).inner_text()]
    assert seen == ["PENDING"]
    live_stack.restart()
    expect(status(page)).to_have_text("RUNNING", timeout=SOON)
    expect(page.locator("#part-timeline rect.bar.running")).to_be_visible()
    width = page.locator("rect.bar.running").bounding_box()
    assert width is not None
    ticking = page.locator("#part-status [data-since]")
    first = ticking.inner_text()
    expect(ticking).not_to_have_text(first)
    answered.set()
    expect(status(page)).to_have_text("COMPLETED", timeout=SOON)
    expect(page.locator("#part-outputs")).to_contain_text("12")
    expect(page.locator("#part-timeline rect.bar.completed")).to_have_count(2)
    expect(page.locator("#live")).not_to_have_attribute("hx-trigger", re.compile("."))
    assert page.evaluate("window.neverReloaded") is True


def test_polling_ends_with_the_execution(page, shared_stack: Stack, website, fetching, started):
    workflow, execution = started(shared_stack, fetching, url=website.page("/x", "x", delay=1))
    polls: list[int] = []
    page.on("response", lambda r: polls.append(r.status) if "/pages/executions/" in r.url else None)
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/executions/{execution}")
    expect(status(page)).to_have_text("COMPLETED", timeout=SOON)
    before = len(polls)
    page.wait_for_timeout(2500)
    assert before >= 1
    assert len(polls) == before


def test_nothing_new_is_answered_with_304(page, shared_stack: Stack, website, fetching, started):
    workflow, execution = started(shared_stack, fetching, url=website.page("/hold", "x", delay=4))
    polls: list[int] = []
    page.on("response", lambda r: polls.append(r.status) if "/pages/executions/" in r.url else None)
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/executions/{execution}")
    expect(status(page)).to_have_text("RUNNING", timeout=SOON)
    page.wait_for_timeout(2500)
    assert polls.count(304) >= 1


def test_what_the_reader_opened_stays_open(page, shared_stack: Stack, website, fetching, started):
    address = website.page("/held", "x", delay=1.5)
    second = {"name": "again", "type": "web.download", "inputs": {"url": "{{inputs.url}}"}}
    document = fetching | {"tasks": [*fetching["tasks"], second]}
    workflow, execution = started(shared_stack, document, url=address)
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/executions/{execution}")
    page.locator("#details-fetch > summary").click()
    expect(status(page)).to_have_text("COMPLETED", timeout=SOON)
    expect(page.locator("#details-fetch")).to_have_attribute("open", "")
    expect(page.locator("#details-again")).not_to_have_attribute("open", "")


def test_the_page_of_an_item_renews_itself_until_it_has_ended(page, shared_stack: Stack, website, fetching, started):
    answered = threading.Event()
    address = website.script("/item", [Page(body=b"<p>12345</p>", gate=answered)])
    (task,) = fetching["tasks"][:1]
    document = {"title": "Items", "inputs": fetching["inputs"], "tasks": [task | {"for_each": "{{[1]}}"}]}
    _, execution = started(shared_stack, document, url=address)
    own = f"/pages/executions/{execution}/tasks/{task['name']}/items/0"
    wait_until(lambda: shared_stack.request("GET", own).status_code == 200, timeout=20, what="the item has begun")
    polls: list[int] = []
    page.on("response", lambda r: polls.append(r.status) if "/fragment" in r.url else None)
    page.goto(shared_stack.base_url + own)
    page.evaluate("window.neverReloaded = true")
    item = page.locator("#item")
    expect(item).to_contain_text("RUNNING")
    page.wait_for_timeout(2500)
    assert set(polls) == {304}
    answered.set()
    expect(item).to_contain_text("COMPLETED", timeout=SOON)
    expect(item.get_by_role("heading", name="Outputs")).to_be_visible()
    before = len(polls)
    page.wait_for_timeout(2500)
    assert len(polls) == before
    assert page.evaluate("window.neverReloaded") is True


def test_the_list_renews_itself_and_filters(page, shared_stack: Stack, fetching, started, website):
    workflow = shared_stack.post("/workflows", fetching | {"title": "Listed"})["workflow_id"]
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/executions")
    expect(page.get_by_text("No executions yet")).to_be_visible()
    fine = website.page("/fine", "x")
    given = {"inputs": {"url": fine}}
    done = shared_stack.post(f"/workflows/{workflow}/executions", given)["workflow_execution_id"]
    bad = {"inputs": {"url": website.page("/gone", "x", status=404)}}
    failed = shared_stack.post(f"/workflows/{workflow}/executions", bad)["workflow_execution_id"]
    expect(page.locator(f"#row-{done}")).to_be_visible(timeout=SOON)
    expect(page.locator(".chip.failed")).to_be_visible(timeout=SOON)
    page.get_by_role("link", name="Failed", exact=True).click()
    expect(page.locator(f"#row-{failed}")).to_be_visible()
    expect(page.locator(f"#row-{done}")).to_have_count(0)
    assert page.url.endswith("?status=FAILED")
    page.goto(f"{shared_stack.base_url}/executions")
    page.get_by_label("Workflow").select_option(workflow)
    page.wait_for_url(re.compile(rf"/executions\?workflow={workflow}$"))
    expect(page.locator(f"#row-{done}")).to_be_visible()
    expect(page.locator("#executions tbody tr")).to_have_count(2)


def test_a_login_page_is_never_swapped_in(page, shared_stack: Stack, website, fetching, started):
    workflow, execution = started(shared_stack, fetching, url=website.page("/long", "x", delay=3))
    login = shared_stack.request("GET", "/admin/login/").text
    asked: list[str] = []

    def answer(route):
        asked.append(route.request.url)
        route.fulfill(status=200, content_type="text/html", body=login)

    page.route("**/pages/executions/**", answer)
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/executions/{execution}")
    page.wait_for_timeout(1500)
    assert asked
    expect(page.locator("#id_username")).to_have_count(0)
    page.unroute("**/pages/executions/**")
    expect(status(page)).to_have_text("COMPLETED", timeout=SOON)


def test_cancel(page, shared_stack: Stack, website, fetching, started):
    workflow, execution = started(shared_stack, fetching, url=website.url("/hang"))
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/executions/{execution}")
    expect(status(page)).to_have_text("RUNNING", timeout=SOON)
    page.get_by_role("button", name="Cancel").click()
    expect(status(page)).to_have_text("CANCELLED", timeout=SOON)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert shared_stack.get(f"/workflows/{workflow}/executions/{execution}")["status"] == "CANCELLED"


def test_a_failure_stands_on_top_and_leads_to_its_task(page, shared_stack: Stack, website, fetching, started):
    workflow, execution = started(shared_stack, fetching, url=website.page("/no", "x", status=404))
    shared_stack.wait_for_execution(workflow, execution)
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/executions/{execution}")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Task fetch failed")
    expect(alert).to_contain_text("404")
    alert.get_by_role("link", name="fetch").click()
    expect(page.locator("#details-fetch")).to_have_attribute("open", "")
    page.get_by_role("link", name="Run again", exact=True).click()
    expect(page.locator("#id_input_url")).to_have_value(re.compile("/no$"))


def test_a_webhook_can_be_sent_again(page, shared_stack: Stack, website, fetching):
    website.page("/hook", "")
    workflow = shared_stack.post("/workflows", fetching)["workflow_id"]
    body = {"inputs": {"url": website.page("/ok", "x")}, "monitoring": {"webhook_url": website.url("/hook")}}
    execution = shared_stack.post(f"/workflows/{workflow}/executions", body)["workflow_execution_id"]
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/executions/{execution}")
    expect(page.locator("#part-deliveries .chip.delivered")).to_have_count(2, timeout=SOON)
    page.locator("#part-deliveries summary").first.click()
    page.get_by_role("button", name="Send again").first.click()
    page.wait_for_load_state()
    expect(page.locator("#part-deliveries")).to_contain_text("2 tries", timeout=SOON)
    expect(page.locator("#part-deliveries .chip.delivered")).to_have_count(2, timeout=SOON)
