"""From the form to the sound, with and without JavaScript."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.plugins.stack import Stack, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.slow]

#: Milliseconds. The voice is a program that is started for it.
SOON = 60_000
HELLO = {
    "title": "Hello World Workflow",
    "inputs": [{"name": "text", "type": "text", "description": "Text to convert to speech"}],
    "tasks": [
        {
            "name": "text_to_speech",
            "type": "openai.audio.text_to_speech",
            "inputs": {"text": "{{inputs.text}}", "voice": "alloy"},
        }
    ],
    "outputs": [{"name": "audio", "type": "file", "value": "{{tasks.text_to_speech.outputs.audio}}"}],
}


def test_hello_world_is_heard(page, shared_stack: Stack):
    workflow = shared_stack.post("/workflows", HELLO)["workflow_id"]
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}")
    page.get_by_label("text").first.fill("Hello, world")
    page.get_by_role("button", name="Run", exact=True).click()
    audio = page.locator("#part-outputs audio")
    expect(audio).to_be_visible(timeout=SOON)
    expect(page.locator("#part-outputs")).to_contain_text("made by the local voice")
    audio.evaluate("player => { player.muted = true; return player.play() }")
    wait_until(lambda: audio.evaluate("player => player.currentTime") > 0.1, timeout=20, what="the sound moves on")
    assert audio.evaluate("player => player.duration") > 0.5
    assert audio.evaluate("player => player.error") is None
    with page.expect_download() as download:
        page.locator("#part-outputs a", has_text="Download").click()
    assert download.value.suggested_filename.endswith(".mp3")


def test_a_wrong_input_is_said_at_its_field(page, shared_stack: Stack, page_problems):
    number = {"name": "many", "type": "number", "minimum": 1, "default": 2}
    document = HELLO | {"inputs": [*HELLO["inputs"], number, {"name": "data", "type": "object", "required": False}]}
    workflow = shared_stack.post("/workflows", document)["workflow_id"]
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}/run")
    page.get_by_label("text").first.fill("kept")
    page.get_by_label("data").fill("{not json")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#id_input_data_error")).to_contain_text("JSON")
    expect(page.locator("#id_input_text")).to_have_value("kept")
    assert any("400" in problem for problem in page_problems)
    page_problems.clear()


def test_without_javascript_everything_can_be_read_and_started(browser: Browser, shared_stack: Stack):
    workflow = shared_stack.post("/workflows", HELLO)["workflow_id"]
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{shared_stack.base_url}/workflows/{workflow}")
    page.get_by_label("text").first.fill("No script")
    page.get_by_role("button", name="Run", exact=True).click()
    execution = page.url.rpartition("/")[2]
    shared_stack.wait_for_execution(workflow, execution)
    page.reload()
    expect(page.locator("#part-status .chip.big")).to_have_text("COMPLETED")
    expect(page.locator("#part-outputs audio")).to_be_visible()
    expect(page.locator("#part-status time").first).to_contain_text("UTC")
    page.locator("#details-text_to_speech > summary").click()
    expect(page.locator("#task-text_to_speech")).to_contain_text("{{inputs.text}}")
    for address in ("/", "/workflows", "/executions", "/task-types", f"/workflows/{workflow}/versions/1"):
        answer = page.goto(shared_stack.base_url + address)
        assert answer is not None
        assert answer.status == 200
    context.close()
