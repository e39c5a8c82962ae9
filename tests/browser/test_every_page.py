"""Every page: accessible, at home on a phone, silent in the console, and deaf to scripts in shown data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.plugins.stack import Stack
from tests.stubs.web_stub import WebStub

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.slow, pytest.mark.any_database]

NASTY = "\"'></pre></textarea></title><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
#: Long, and without a place to break.
LONG = "x" * 150
#: What makes the page scroll sideways, if anything does.
CUT_OFF = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".graph"))
    .map(e => `${e.tagName}.${e.className}`).slice(0, 8)"""


@pytest.fixture(scope="module")
def addresses(shared_stack: Stack) -> list[str]:
    """An address of each kind, over data that is nasty, long, failed, fetched and sent."""
    with WebStub() as website:
        return _addresses(shared_stack, website)


def _addresses(shared_stack: Stack, website: WebStub) -> list[str]:
    website.page("/page", f"<title>{NASTY}</title><p>{NASTY}</p>")
    website.page("/hook", NASTY, status=500)
    document = {
        "title": NASTY,
        "description": f"{NASTY} {LONG}",
        "inputs": [
            {"name": "url", "type": "text", "description": NASTY},
            {"name": LONG[:64], "type": "text", "default": f"{NASTY} {LONG}", "description": LONG},
            {"name": "mode", "type": "text", "enum": [NASTY, LONG], "default": NASTY},
            {"name": "many", "type": "number", "default": 1},
            {"name": "yes", "type": "boolean", "default": True},
            {"name": "data", "type": "object", "required": False},
            {"name": "attachment", "type": "file", "required": False},
        ],
        "tasks": [
            {"name": "fetch", "type": "web.download", "inputs": {"url": "{{inputs.url}}"}},
            {"name": LONG[:64], "type": "text.echo", "inputs": {"text": "{{tasks.fetch.outputs.html}}"}},
            {
                "name": "each",
                "type": "text.echo",
                "depends_on": [LONG[:64]],
                "for_each": [NASTY, LONG],
                "inputs": {"text": "{{item}}"},
            },
            {
                "name": "fail",
                "type": "web.download",
                "depends_on": ["each"],
                "inputs": {"url": "{{inputs.url}}/nope"},
            },
            {"name": "never", "type": "text.echo", "inputs": {"text": "{{inputs.mode}}"}},
        ],
        "outputs": [{"name": "html", "type": "text", "value": "{{tasks.fetch.outputs.html}}"}],
    }
    workflow = shared_stack.post("/workflows", document)["workflow_id"]
    shared_stack.request("PUT", f"/workflows/{workflow}", json=document | {"description": "Changed"})
    body = {
        "inputs": {"url": website.url("/page")},
        "labels": {"label": NASTY},
        "monitoring": {"webhook_url": website.url("/hook")},
    }
    execution = shared_stack.post(f"/workflows/{workflow}/executions", body)["workflow_execution_id"]
    assert shared_stack.wait_for_execution(workflow, execution)["status"] == "FAILED"
    shared_stack.request("PUT", f"/secrets/{'LONG_' * 20}", json={"value": "a value nobody sees"})
    connection = {
        "kind": "openai",
        "settings": {"base_url": f"http://{LONG[:60]}.example.com/v1", "default_model": NASTY},
    }
    shared_stack.request("PUT", "/connections/main", json=connection)
    base = f"/workflows/{workflow}"
    return [
        "/", "/workflows", "/workflows?search=zzz", "/workflows/new", "/executions", "/executions?status=CANCELLED",
        f"/executions?label={LONG}:&created_after=2026-11-23T08:00:00Z&trigger=api&search={LONG}",
        f"/pages/executions/{execution}/tasks/each/items", f"/pages/executions/{execution}/tasks/each/items/0",
        "/task-types", "/task-types?search=zzz", "/task-types/web.download", "/task-types/openai.audio.transcription",
        "/secrets", "/secrets?kind=email", "/connections/main",
        base, f"{base}/run?from={execution}", f"{base}/edit",
        f"{base}/versions", f"{base}/versions/2", f"{base}/executions", f"{base}/executions/{execution}",
    ]  # fmt: skip


@pytest.fixture(params=["light", "dark"])
def phone(request, browser: Browser) -> Iterator[Page]:
    """A page 360 px wide in either colour scheme, with everything foldable open."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=request.param)
    yield context.new_page()
    context.close()


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")


def test_axe_finds_nothing_and_nothing_is_cut_off_on_a_phone(phone, shared_stack, addresses, assert_accessible):
    for address in addresses:
        phone.goto(shared_stack.base_url + address)
        open_all(phone)
        assert_accessible(phone)
        assert phone.evaluate(CUT_OFF) == [], address


def test_nothing_is_refused_by_the_policy_and_no_script_runs(page, shared_stack, addresses):
    page.add_init_script(
        "window.refused = []; document.addEventListener('securitypolicyviolation', e => refused.push(e.violatedDirective))"
    )
    for address in addresses:
        page.goto(shared_stack.base_url + address)
        open_all(page)
        page.wait_for_timeout(50)
        assert page.evaluate("window.refused") == [], address
        assert page.evaluate("window.hacked") is None, address
        assert page.locator("img[src=x]").count() == 0, address


def test_times_are_in_the_readers_zone_with_the_exact_one_on_hover(browser: Browser, shared_stack, addresses):
    context = browser.new_context(timezone_id="Asia/Kolkata", locale="en-GB")
    page = context.new_page()
    page.goto(shared_stack.base_url + addresses[-1])
    time = page.locator("#part-status time").first
    expect(time).to_contain_text("ago")
    assert "5:30" in (time.get_attribute("title") or "")
    assert (time.get_attribute("datetime") or "").endswith("Z")
    context.close()


def test_the_keyboard_reaches_what_matters(page, shared_stack, addresses):
    page.goto(shared_stack.base_url + addresses[-1])
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim().slice(0, 20)"))
    assert {"Overview", "Workflows", "Executions", "Task types", "Run again"} <= reached


def test_the_admin_runs_no_script_of_others(page, shared_stack, addresses):
    shared_stack.manage("shell", "-c", _MAKE_ROOT)
    page.goto(f"{shared_stack.base_url}/admin/")
    page.fill("#id_username", "root")
    page.fill("#id_password", "a password for tests")
    page.click("[type=submit]")
    execution = addresses[-1].rpartition("/")[2]
    for address in (
        "workflows/workflow/", "executions/execution/", f"executions/execution/{execution}/change/",
        "executions/delivery/", "executions/taskrun/",
    ):  # fmt: skip
        answer = page.goto(f"{shared_stack.base_url}/admin/{address}")
        assert answer is not None
        assert answer.status == 200, address
        assert page.evaluate("window.hacked") is None, address


_MAKE_ROOT = """
from django.contrib.auth.models import User
User.objects.filter(username="root").exists() or User.objects.create_superuser("root", password="a password for tests")
"""
