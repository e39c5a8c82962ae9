"""The run form: made from the inputs, filled in for "run again", wrong fields said at the field."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from executions.models import Execution, StoredFile
from tests.factories import DOCUMENT, make_execution, make_workflow

pytestmark = pytest.mark.django_db

INPUTS = [
    {"name": "text", "type": "text", "description": "What to say", "example": "Hello"},
    {"name": "page_url", "type": "text", "default": "https://example.com"},
    {"name": "mode", "type": "text", "enum": ["fast", "slow"], "default": "fast"},
    {"name": "many", "type": "number", "required": False, "minimum": 1, "maximum": 9},
    {"name": "loud", "type": "boolean", "required": False},
    {"name": "data", "type": "object", "required": False},
    {"name": "anything", "type": "any", "required": False},
    {"name": "attachment", "type": "file", "required": False},
]


@pytest.fixture
def workflow():
    return make_workflow(inputs=INPUTS)


@pytest.mark.parametrize("name", ["rows", "fields", "errors", "items"])
def test_an_input_may_be_called_as_a_part_of_the_form_is(read, name):
    workflow = make_workflow(inputs=[INPUTS[0], {"name": name, "type": "text", "default": "x"}])
    html = read(f"/workflows/{workflow.pk}/run")
    assert '<textarea name="input_text"' in html
    assert f'name="input_{name}"' in html


def test_each_type_has_its_field(read, workflow):
    html = read(f"/workflows/{workflow.pk}/run")
    assert '<textarea name="input_text"' in html
    assert 'placeholder="Hello"' in html
    assert 'aria-describedby="id_input_text_helptext"' in html
    assert '<input type="text" name="input_page_url" value="https://example.com"' in html
    assert '<option value="&quot;fast&quot;" selected>fast</option>' in html
    assert '<input type="number" name="input_many" min="1" max="9" step="any"' in html
    assert '<option value="true">yes</option>' in html
    assert '<input type="file" name="input_attachment"' in html
    assert html.count(" required") == 1  # only what has no default and is not optional


def test_values_arrive_with_their_types(send, workflow):
    page = f"/workflows/{workflow.pk}/run"
    answer = send(
        page,
        page,
        input_text=" two\r\nlines ",
        input_page_url="https://example.com",
        input_mode='"slow"',
        input_many="3",
        input_loud="false",
        input_data='{"a": [1, 2.5]}',
        input_anything="just text",
        input_attachment=SimpleUploadedFile("../my file.txt", b"content", "text/plain"),
    )
    execution = Execution.objects.get()
    assert answer["Location"] == f"/workflows/{workflow.pk}/executions/{execution.pk}"
    stored = StoredFile.objects.get()
    assert execution.inputs == {
        "text": " two\nlines ",
        "page_url": "https://example.com",
        "mode": "slow",
        "many": 3,
        "loud": False,
        "data": {"a": [1, 2.5]},
        "anything": "just text",
        "attachment": stored.as_value(),
    }
    assert execution.trigger == "page"
    assert stored.name == "my file.txt"


def test_what_is_left_out_takes_its_default(send, workflow):
    page = f"/workflows/{workflow.pk}/run"
    send(page, page, input_text="x", input_page_url="", input_mode='"fast"')
    given = Execution.objects.get().inputs
    assert given["page_url"] == "https://example.com"
    assert not given.get("many")


def test_problems_stand_at_their_fields(send, workflow):
    page = f"/workflows/{workflow.pk}/run"
    answer = send(page, page, input_text="", input_many="99", input_mode='"sideways"', input_page_url="kept")
    html = answer.content.decode()
    assert answer.status_code == 400
    assert 'id="id_input_text_error"' in html
    assert 'id="id_input_many_error"' in html
    assert 'aria-invalid="true"' in html
    assert 'value="kept"' in html
    assert not Execution.objects.exists()


@pytest.mark.parametrize(
    "field", [{"input_data": "{"}, {"input_data": "[1]"}, {"input_many": "many"}, {"input_data": "[" * 999},
              {"ref_attachment": "fl-nope"}, {"webhook_url": "javascript:alert(1)"}, {"input_anything": "NaN"}],
    ids=str,
)  # fmt: skip
def test_odd_values_are_refused_and_store_nothing(send, workflow, field):
    page = f"/workflows/{workflow.pk}/run"
    answer = send(page, page, input_text="x", **field)
    assert answer.status_code == 400
    assert 'class="wrong"' in answer.content.decode()
    assert not Execution.objects.exists()


def test_nul_characters_are_refused(send, workflow):
    page = f"/workflows/{workflow.pk}/run"
    assert send(page, page, input_text="a\0b").status_code == 400
    assert not Execution.objects.exists()


def test_run_again_fills_the_form_in(read):
    workflow = make_workflow(inputs=INPUTS)
    before = make_execution(workflow, inputs={"text": "as before", "many": 7, "mode": "slow", "loud": True})
    html = read(f"/workflows/{workflow.pk}/run?from={before.pk}")
    assert "as before</textarea>" in html
    assert 'value="7"' in html
    assert '<option value="&quot;slow&quot;" selected>slow</option>' in html
    assert '<option value="true" selected>yes</option>' in html
    assert before.pk in html


def test_run_again_from_another_workflow_is_not_found(web, workflow):
    other = make_execution()
    assert web.get(f"/workflows/{workflow.pk}/run?from={other.pk}").status_code == 404


def test_a_missing_key_is_said_before_anything_is_queued(send):
    speech = {"name": "say", "type": "openai.completion", "inputs": {"text": "{{inputs.text}}", "prompt": "Shorter"}}
    workflow = make_workflow(tasks=[speech], outputs=[])
    page = f"/workflows/{workflow.pk}/run"
    answer = send(page, page, input_text="x")
    assert answer.status_code == 400
    assert "X-OpenAI-Key" in answer.content.decode()
    assert not Execution.objects.exists()


def test_the_key_is_never_shown_again(send, read):
    workflow = make_workflow(inputs=DOCUMENT["inputs"])
    page = f"/workflows/{workflow.pk}/run"
    answer = send(page, page, input_text="", openai_key="sk-CANARY")
    assert answer.status_code == 400
    assert "sk-CANARY" not in answer.content.decode()
    send(page, page, input_text="x", openai_key="sk-CANARY")
    execution = Execution.objects.get()
    assert "sk-CANARY" not in read(f"/workflows/{workflow.pk}/executions/{execution.pk}")


def test_a_webhook_given_in_the_form_is_used(send):
    workflow = make_workflow()
    page = f"/workflows/{workflow.pk}/run"
    send(page, page, input_text="x", webhook_url="https://example.com/hook")
    assert "https://example.com/hook" in str(Execution.objects.get().monitoring)
