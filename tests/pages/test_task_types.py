"""The catalogue: all task types, one of them, and trying it."""

from __future__ import annotations

import json
import re
import shlex
from html import unescape
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

from dataflow.trying import trial
from executions.models import Execution
from executions.samples import keep_samples
from tasks_lib import registry
from tasks_lib.base import TaskType
from tasks_lib.types.text_size import TextSize
from tests.executions_driver import carry
from tests.pages.conftest import Read
from workflows.models import Workflow
from workflows.services import check_document

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
INSTALLED = [one for one in registry.all() if not one.missing()]
ALL = pytest.mark.parametrize("task_type", registry.all(), ids=lambda found: found.name)


def names_in(page: str) -> list[str]:
    return re.findall(r'<h3><a href="/task-types/([^"]+)"', page)


def test_every_type_is_listed_in_its_category(read: Read) -> None:
    page = read("/task-types")
    assert sorted(names_in(page)) == registry.names()
    headings = [unescape(found) for found in re.findall(r"<h2 id=[^>]+>([^<]+)</h2>", page)]
    assert [found.lower() for found in headings] == sorted({one.category.lower() for one in registry.all()})


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("text.truncate", "text.truncate"),
        ("static_text_input", "text.static"),
        ("AROUND emoji", "text.reverse"),
        ("truncated_text", "text.truncate"),
    ],
)
def test_the_search_looks_everywhere(read: Read, search: str, found: str) -> None:
    assert names_in(read(f"/task-types?search={search}")) == [found]


def test_a_search_that_finds_nothing(read: Read) -> None:
    page = read("/task-types?search=%3Cb%3Ezzz")
    assert names_in(page) == []
    assert "No task type matches “&lt;b&gt;zzz”" in page


@ALL
def test_the_page_of_a_type_says_everything(read: Read, task_type: TaskType) -> None:
    page = unescape(read(f"/task-types/{task_type.name}"))
    fields = (*task_type.inputs, *task_type.outputs)
    assert [field.name for field in fields if f"<code>{field.name}</code>" not in page] == []
    assert [name for name in (*task_type.aliases, *task_type.retried, *task_type.secrets) if name not in page] == []
    assert f'action="/task-types/{task_type.name}/try"' in page
    assert page.count("<label") >= len(task_type.inputs)


@ALL
def test_its_calls_send_a_definition_that_is_valid(read: Read, task_type: TaskType) -> None:
    if task_type.missing():
        pytest.skip(task_type.missing())
    found = re.search(r'id="call-calls">(.*?)</code>', read(f"/task-types/{task_type.name}"), re.DOTALL)
    assert found
    words = shlex.split(unescape(found[1]).partition("$(")[2].partition(" \\\n  | ")[0])
    document = json.loads(words[words.index("-d") + 1])
    assert document["tasks"][0]["inputs"] == task_type.example
    if task_type.name != "workflow.run":  # the workflow of its example is not here
        assert check_document(document).problems == ()


@pytest.mark.parametrize("task_type", INSTALLED, ids=lambda found: found.name)
def test_every_type_can_be_tried(task_type: TaskType) -> None:
    assert check_document(trial(task_type)).problems == ()


def test_an_older_spelling_finds_the_page_and_an_unknown_one_does_not(read: Read, web: Client) -> None:
    assert "<code>text.echo</code>" in read("/task-types/Echo")
    assert web.get("/task-types/no.such").status_code == 404
    assert web.get("/task-types/no.such/try").status_code == 404
    assert web.get("/task-types/echo/try").headers["Location"] == "/task-types/text.echo#try"


def test_it_is_tried_with_given_inputs(send: Any) -> None:
    answer = send(
        "/task-types/text.truncate", "/task-types/text.truncate/try", input_text="Hello there", input_length="5"
    )
    execution = Execution.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (
        302,
        f"/workflows/{execution.workflow_id}/executions/{execution.pk}",
    )
    carry(execution)
    execution.refresh_from_db()
    assert (execution.status, execution.outputs) == ("COMPLETED", {"truncated_text": "Hello..."})
    assert (execution.title, execution.trigger) == ("Try text.truncate", "page")


def test_tries_of_one_type_share_a_workflow(send: Any) -> None:
    for text in ("a", "b"):
        send("/task-types/text.size", "/task-types/text.size/try", input_text=text)
    first, second = Execution.objects.all()
    assert first.workflow_id == second.workflow_id
    Workflow.objects.update(title="Mine now")
    send("/task-types/text.size", "/task-types/text.size/try", input_text="c")
    assert Workflow.objects.count() == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"input_text": "x", "input_length": "many"}, "Write a number"),
        ({"input_text": "x", "input_length": "-1"}, "must be at least 0"),
        ({"input_length": "1"}, "text"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(send: Any, fields: dict[str, str], said: str) -> None:
    answer = send("/task-types/text.truncate", "/task-types/text.truncate/try", **fields)
    assert answer.status_code == 400
    page = unescape(answer.content.decode())
    assert 'class="wrong"' in page
    assert said in page
    assert not Workflow.objects.exists()


def test_without_a_key_it_says_so_and_makes_nothing(send: Any, settings: Settings) -> None:
    settings.OPENAI_API_KEY = settings.OPENAI_BASE_URL = ""
    answer = send(
        "/task-types/openai.completion", "/task-types/openai.completion/try", input_text="x", input_prompt="y"
    )
    assert answer.status_code == 400
    assert "X-OpenAI-Key" in answer.content.decode()
    assert not Workflow.objects.exists()


def test_one_that_lacks_a_package_says_how_to_install_it(
    read: Read, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextSize, "modules", ("no_such_module",))
    monkeypatch.setattr(TextSize, "extra", "sizes")
    assert "not installed" in read("/task-types?search=text.size")
    assert "<code>pip install -r requirements-sizes.txt</code>" in read("/task-types/text.size")
    answer = send("/task-types/text.size", "/task-types/text.size/try", input_text="x")
    assert answer.status_code == 400
    assert "pip install -r requirements-sizes.txt" in answer.content.decode().partition('role="alert"')[2]
    assert not Workflow.objects.exists()


def test_a_sample_file_is_filled_in(read: Read) -> None:
    keep_samples()
    page = read("/task-types/openai.audio.transcription")
    assert re.search(
        r'<input[^>]*name="ref_file"[^>]*value="fl-sample0audio"|value="fl-sample0audio"[^>]*name="ref_file"', page
    )


def test_only_those_who_may_create_workflows_may_try(web: Client, settings: Settings) -> None:
    settings.DEBUG = False
    settings.SECURE_SSL_REDIRECT = False
    web.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', web.get("/task-types/text.size").content.decode())
    assert found
    web.force_login(get_user_model().objects.create_user("reader"))
    assert b"#try" not in web.get("/task-types/text.size").content
    answer = web.post("/task-types/text.size/try", {"input_text": "x", "csrfmiddlewaretoken": found[1]})
    assert answer.status_code == 403
    assert not Workflow.objects.exists()
