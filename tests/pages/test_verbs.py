"""Pages of the verbs: resume, run again, decide an approval, several at once, and items of a list."""

from __future__ import annotations

import html as entities
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from executions import store, verbs
from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Attempt, Execution, StoredFile, TaskRun
from executions.triggers.hooks import create_hook
from executions.triggers.schedules import create_schedule
from tests.executions_driver import claim, echo, failed, started, task
from tests.factories import DOCUMENT, START, make_execution, make_task_run, make_workflow
from tests.verbs_driver import ASK, CHAIN, FORM, ask, asking, broken, end, finish
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db


def address(execution):
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}"


def own(execution, rest):
    return f"/pages/executions/{execution.pk}/{rest}"


# --- what a page offers ---
@pytest.mark.parametrize(
    ("status", "offered"),
    [
        (ExecutionStatus.PENDING, {"rerun", "cancel"}),
        (ExecutionStatus.RUNNING, {"rerun", "cancel"}),
        (ExecutionStatus.COMPLETED, {"rerun"}),
        (ExecutionStatus.FAILED, {"rerun", "resume"}),
        (ExecutionStatus.CANCELLED, {"rerun", "resume"}),
    ],
)
def test_a_page_offers_what_can_be_done(read, status, offered):
    execution = make_execution(status=status)
    html = read(address(execution))
    assert {verb for verb in ("rerun", "resume", "cancel") if own(execution, verb) in html} == offered


def test_an_archived_workflow_is_not_run_again(read, send):
    execution = make_execution()
    archive_workflow(workflow=execution.workflow)
    assert own(execution, "rerun") not in read(address(execution))
    assert "archived" in read(own(execution, "rerun"))
    assert send("/executions", own(execution, "rerun"), input_text="x", version=1).status_code == 409
    assert Execution.objects.count() == 1


def test_who_may_only_read_is_offered_nothing(settings):
    settings.DEBUG, settings.SECURE_SSL_REDIRECT = False, False
    reader = Client(headers={"accept": "text/html"})
    reader.force_login(User.objects.create_user("reader"))
    execution, asks = make_execution(status=ExecutionStatus.FAILED), asking()
    assert own(execution, "resume") not in reader.get(address(execution)).content.decode()
    shown = reader.get(address(asks)).content.decode()
    assert "Your account may look, not decide." in shown
    assert 'value="approve"' not in shown
    assert 'name="ids"' not in reader.get("/executions").content.decode()
    for path in ("resume", "rerun", "tasks/ask/decide"):
        assert reader.post(own(asks, path)).status_code == 403
    assert reader.post("/pages/executions/bulk", {"verb": "cancel", "ids": [asks.pk]}).status_code == 403
    assert Execution.objects.get(pk=asks.pk).status == "RUNNING"


def test_links_to_those_it_comes_from_and_started(read):
    workflow = make_workflow()
    source = make_execution(workflow)
    child = make_execution(workflow, rerun_of=source, parent=source, parent_task="first")
    html = read(address(child))
    assert html.count(own(source, "open")) == 2
    assert ", task first" in html
    waits = make_execution(workflow, ExecutionStatus.RUNNING)
    waiting = {"for": "child", "since": "2025-11-23T08:00:00Z"}
    make_task_run(waits, "first", TaskStatus.WAITING, waiting=waiting, child=child.pk)
    assert own(child, "open") in read(address(waits))


def test_open_goes_to_the_page(web):
    execution = make_execution()
    assert web.get(own(execution, "open"))["Location"] == address(execution)
    assert web.get("/pages/executions/we-unknown/open").status_code == 404


# --- resume ---
def test_resume(send, read):
    execution = broken()
    answer = send(address(execution), own(execution, "resume"))
    assert answer.status_code == 302
    assert answer["Location"] == address(execution)
    assert finish(execution) == ["b", "c"]
    assert "COMPLETED" in read(address(execution))


def test_resume_asks_for_the_key_that_was_erased(send, settings):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL, settings.DATAFLOW_LOCAL_VOICE_URL = "", "", ""
    needs = {"name": "ask", "type": "openai.completion", "inputs": {"text": "x", "prompt": "y"}}
    execution = make_execution(make_workflow(tasks=[needs], outputs=[]), ExecutionStatus.FAILED)
    refused = send(address(execution), own(execution, "resume"))
    assert refused.status_code == 400
    assert "It was not resumed" in refused.content.decode()
    assert send(own(execution, "resume"), own(execution, "resume"), openai_key="sk-again").status_code == 302
    execution.refresh_from_db()
    assert execution.status == "PENDING"


def test_resume_of_what_has_not_failed(send):
    execution = make_execution(status=ExecutionStatus.RUNNING)
    assert send(address(execution), own(execution, "resume")).status_code == 409


# --- run again ---
def test_the_form_is_filled_in(read):
    execution = make_execution(inputs={"text": "what was <sent>"})
    html = read(own(execution, "rerun"))
    assert "what was &lt;sent&gt;" in html
    for name in ("first", "second", "third"):
        assert f'<option value="{name}">' in html
    assert '<option value="second" selected>' in read(f"{own(execution, 'rerun')}?from_task=second")
    assert f"{own(execution, 'rerun')}?from_task=second" not in read(address(execution)).split("Tasks</h2>")[0]
    assert f"{own(execution, 'rerun')}?from_task=second" in read(address(execution))


def test_run_again_with_other_inputs_and_from_a_task(send, read):
    source = broken()
    answer = send(own(source, "rerun"), own(source, "rerun"), version=1, from_task="b")
    made = Execution.objects.get(rerun_of=source)
    assert answer["Location"] == address(made)
    assert "Reused: a." in read(address(made))
    assert "Reused from" in read(address(made))
    plain = make_execution()
    send(own(plain, "rerun"), own(plain, "rerun"), version=1, input_text="new")
    assert Execution.objects.get(rerun_of=plain).inputs == {"text": "new"}


def test_another_version_asks_for_its_own_inputs(read, send):
    execution = make_execution()
    inputs = [*DOCUMENT["inputs"], {"name": "more", "type": "text"}]
    update_workflow(workflow=execution.workflow, document=DOCUMENT | {"inputs": inputs})
    assert 'name="input_more"' not in read(own(execution, "rerun"))
    assert 'name="input_more"' in read(f"{own(execution, 'rerun')}?version=latest")
    assert 'name="input_more"' in read(f"{own(execution, 'rerun')}?version=2")
    refused = send(own(execution, "rerun"), own(execution, "rerun"), version=2, input_text="x", input_more="")
    assert refused.status_code == 400
    assert send(own(execution, "rerun"), own(execution, "rerun"), version=2, input_text="x", input_more="y")
    assert Execution.objects.get(rerun_of=execution).workflow_version == 2


@pytest.mark.parametrize("query", ["version=9", "version=x", "version=99999999999", "version=-1"])
def test_no_such_version(web, query):
    assert web.get(f"{own(make_execution(), 'rerun')}?{query}").status_code == 404


def test_an_unknown_task_is_said_beside_its_field(send):
    execution = make_execution()
    answer = send(own(execution, "rerun"), own(execution, "rerun"), version=1, input_text="x", from_task="nope")
    assert answer.status_code == 400
    assert "id_from_task_error" in answer.content.decode()


# --- approvals ---
def test_the_question_stands_on_the_page(read):
    execution = asking(form=FORM)
    html = read(address(execution))
    assert "A decision is needed" in html
    assert "Go on?" in html
    assert "It costs money." in html
    assert "A rejection fails the task." in html
    assert 'name="input_budget"' in html
    assert "waits for approval since" in html  # though no worker is running


def test_approve(send, read):
    execution = asking(echo("after"), form=FORM)
    answer = send(
        address(execution), own(execution, "tasks/ask/decide"),
        input_budget="5", input_note="", comment="fine", decision="approve",
    )  # fmt: skip
    assert answer.status_code == 302
    assert answer["Location"] == f"{address(execution)}#task-ask"
    outputs = task(execution, "ask").outputs
    assert outputs["approved"] is True
    assert outputs["comment"] == "fine"
    assert outputs["values"] == {"budget": 5, "note": None}
    assert finish(execution) == ["after"]
    assert "A decision is needed" not in read(address(execution))


def test_reject_needs_no_values(send):
    execution = asking(form=FORM)
    answer = send(address(execution), own(execution, "tasks/ask/decide"), comment="too dear", decision="reject")
    assert answer.status_code == 302
    assert task(execution, "ask").error["message"].endswith("too dear")


def test_wrong_values_come_back_with_what_was_typed(send):
    execution = asking(form=FORM)
    answer = send(
        address(execution), own(execution, "tasks/ask/decide"),
        input_budget="-7", comment="typed before", decision="approve",
    )  # fmt: skip
    shown = answer.content.decode()
    assert answer.status_code == 400
    assert "-7" in shown
    assert "typed before" in shown
    assert 'class="wrong"' in shown
    assert task(execution, "ask").status == TaskStatus.WAITING


@pytest.mark.parametrize("decision", ["", "maybe", None])
def test_no_decision_decides_nothing(send, decision):
    execution = asking()
    fields = {} if decision is None else {"decision": decision}
    assert send(address(execution), own(execution, "tasks/ask/decide"), **fields).status_code == 400
    assert task(execution, "ask").status == TaskStatus.WAITING


def test_a_file_is_sent_with_the_decision(send):
    execution = asking(form=[{"name": "proof", "type": "file"}])
    proof = SimpleUploadedFile("proof.txt", b"signed", content_type="text/plain")
    send(address(execution), own(execution, "tasks/ask/decide"), input_proof=proof, decision="approve")
    assert task(execution, "ask").outputs["values"]["proof"]["file_id"] == StoredFile.objects.get().pk


def test_too_late_says_who_was_first(send):
    execution = asking(echo("after"))
    page = own(execution, "tasks/ask/decide")
    assert send(page, page, decision="approve").status_code == 302
    late = send(address(execution), page, decision="reject")
    assert late.status_code == 409
    assert "was approved by" in late.content.decode()


def test_an_item_has_a_page_of_its_own(read, send):
    execution = started({**ASK, "for_each": "{{[1, 2]}}", "concurrency": 2})
    for _ in range(2):
        ask(claim(execution), on_reject="continue")
    html = read(address(execution))
    assert "2 decisions are needed" in html
    page = own(execution, "tasks/ask[1]/decide")
    assert entities.unescape(html).replace("%5B", "[").replace("%5D", "]").count(page) == 1
    assert send(page, page, decision="approve").status_code == 302
    assert task(execution, "ask[1]").outputs["approved"] is True


def test_all_decisions_are_counted_and_the_rest_is_a_link_away(read):
    execution = started({**ASK, "for_each": "{{[1]}}"}, {**ASK, "name": "other", "depends_on": []})
    for _ in range(2):
        ask(claim(execution), on_reject="continue")
    waiting = TaskRun.objects.get(execution=execution, name="ask[0]").waiting
    run = TaskRun.objects.get(execution=execution, name="ask")
    TaskRun.objects.bulk_create(
        TaskRun(
            execution=execution, name=f"ask[{item}]", item=item, position=run.position, type=run.type,
            status=TaskStatus.WAITING, waiting=waiting,
        )
        for item in range(1, 600)
    )  # fmt: skip
    html = entities.unescape(read(address(execution)))
    assert "601 decisions are needed" in html
    told = html.split("decisions are needed")[1].split("</ul>")[0]
    assert told.count("<li>") == 20 + 2
    assert f'and 580 more of <a href="{own(execution, "tasks/ask/items")}?status=WAITING">' in told
    assert 'and 1 more: <a href="#task-other">other</a>' in told


def test_the_timeline_tells_a_resume_from_a_retry(read):
    execution = broken()
    verbs.resume_execution(execution=execution, user=AnonymousUser())
    assert finish(execution) == ["b", "c"]
    html = read(address(execution))
    assert "the execution had ended, until somebody resumed it" in html
    assert "waits for the next try" not in html


@pytest.mark.parametrize("kind", ["schedule", "hook"])
def test_what_started_it_is_said_and_linked(read, kind):
    flow = make_workflow()
    made = (
        create_schedule(workflow=flow, document={"every_minutes": 5, "inputs": {"text": "x"}})
        if kind == "schedule"
        else create_hook(workflow=flow, document={"name": "In"}).hook
    )
    execution = make_execution(flow, trigger=kind, trigger_ref=made.pk)
    assert f'{kind} <a href="/workflows/{flow.pk}#{made.pk}">{made.pk}</a>' in read(address(execution))
    assert f'<tr id="{made.pk}">' in read(f"/workflows/{flow.pk}")


def test_what_the_question_says_is_escaped(read):
    execution = asking()
    waiting = {"for": "approval", "title": "<script>1</script>", "message": "<img src=x>", "form": []}
    TaskRun.objects.filter(execution=execution).update(waiting=waiting)
    html = read(address(execution))
    assert "<script>1" not in html
    assert "<img src=x" not in html


@pytest.mark.parametrize("path", ["tasks/nothing/decide", "tasks/nothing/items"])
def test_no_such_task(web, path):
    assert web.get(own(asking(), path)).status_code == 404


# --- items ---
def with_items(count, status=TaskStatus.COMPLETED):
    execution = make_execution(make_workflow(tasks=[echo("a", "{{string(item)}}", for_each="{{[1]}}")], outputs=[]))
    make_task_run(execution, "a", items={"total": count, "next": count, "completed": count, "failed": 0})
    TaskRun.objects.bulk_create(
        TaskRun(execution=execution, name=f"a[{item}]", item=item, position=0, type="text.echo", status=status)
        for item in range(count)
    )
    return execution


def test_items_are_counted_and_shown_a_page_at_a_time(read):
    execution = with_items(120)
    assert "120 of 120 completed" in read(address(execution))
    assert own(execution, "tasks/a/items") in read(address(execution))
    page, seen = own(execution, "tasks/a/items"), []
    query = "?"
    while query:
        html = read(f"{page}{query}")
        seen += [int(item) for item in re.findall(r'<tr id="item-(\d+)"', html)]
        found = re.search(r'href="(\?after=[^"]*)">Next', html)
        query = entities.unescape(found[1]) if found else ""
    assert seen == list(range(120))


def test_items_of_one_state(read):
    execution = with_items(3)
    error = {"code": "runtime", "message": "It <broke>."}
    TaskRun.objects.filter(execution=execution, item=1).update(status="FAILED", error=error)
    html = read(f"{own(execution, 'tasks/a/items')}?status=failed")
    assert re.findall(r'<tr id="item-(\d+)"', html) == ["1"]
    assert "It &lt;broke&gt;." in html
    assert "No item is RUNNING" in read(f"{own(execution, 'tasks/a/items')}?status=RUNNING")


def test_the_number_of_queries_does_not_grow_with_the_items(read, django_assert_num_queries):
    execution = with_items(60)
    with django_assert_num_queries(3):  # execution, task, items
        read(own(execution, "tasks/a/items"))


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=99999999999999999999", "after=%00"])
def test_odd_parameters_of_items(web, query):
    assert web.get(f"{own(with_items(1), 'tasks/a/items')}?{query}").status_code == 200


def test_an_unknown_state_of_items_is_refused(web):
    answer = web.get(f"{own(with_items(1), 'tasks/a/items')}?status=nope")
    assert answer.status_code == 400
    assert "is one of PENDING, RUNNING" in answer.content.decode()


def tried_item():
    """An item that completed at its second try, between two others."""
    execution = with_items(3)
    long = "x" * 70_000
    run = TaskRun.objects.get(execution=execution, item=1)
    TaskRun.objects.filter(pk=run.pk).update(
        attempt=2, inputs={"text": "sent <b>"}, outputs={"text": long}, started_at=START, attempt_started_at=START,
        completed_at=START + timedelta(seconds=3), usage={"characters": 4},
        log=[{"at": "2025-11-23T08:00:02Z", "level": "info", "message": "said at last"}],
    )  # fmt: skip
    error = {"code": "communication", "message": "It broke off."}
    Attempt.objects.create(
        task_run=run, number=1, type="text.echo", ended_at=START, started_at=START, error=error, inputs={"text": "first"},
        log=[{"at": "2025-11-23T08:00:00Z", "level": "warning", "message": "said at first"}],
    )  # fmt: skip
    return execution, long


def test_an_item_shows_what_it_did(read, django_assert_num_queries):
    execution, long = tried_item()
    table = read(own(execution, "tasks/a/items"))
    assert f'href="{own(execution, "tasks/a/items/1")}"' in table
    assert "said at" not in table
    assert long[:100] not in table
    with django_assert_num_queries(5):  # execution, task, item, tries; and the definition, once
        html = read(own(execution, "tasks/a/items/1"))
    shown = ("Item 1 of a", "sent &lt;b&gt;", "{{string(item)}}", "communication: It broke off.", "said at last")
    for text in (*shown, "said at first", "first", "Characters", "Cut at 65,536", "3.0 s"):
        assert text in html, text
    whole = re.search(r'href="(/pages/executions/[^"]*/value\?[^"]*kind=outputs[^"]*)"', html)
    assert whole
    assert read(entities.unescape(whole[1])) == long
    assert f'href="{own(execution, "tasks/a/items/0")}"' in html
    assert f'href="{own(execution, "tasks/a/items/2")}"' in html
    assert f'href="{own(execution, "tasks/a/items/3")}"' not in read(own(execution, "tasks/a/items/2"))
    assert "items?cursor=1&amp;limit=1" in html


@pytest.mark.parametrize("path", ["tasks/a/items/9", "tasks/b/items/0", "value?kind=inputs&name=text&task=a[9]"])
def test_no_such_item(web, path):
    assert web.get(own(with_items(1), path)).status_code == 404


def test_an_item_is_live_until_it_has_ended(web, read):
    execution = started({**ASK, "for_each": "{{[1, 2]}}", "concurrency": 2})
    claims = [claim(execution) for _ in range(2)]
    fragment = own(execution, "tasks/ask/items/1/fragment")
    assert f'hx-get="{fragment}"' in read(own(execution, "tasks/ask/items/1"))
    running = web.get(fragment)
    assert "/decide" not in running.text
    assert web.get(fragment, headers={"If-None-Match": running["ETag"]}).status_code == 304
    ask(claims[0], on_reject="continue")
    ask(claims[1], on_reject="continue")
    waiting = web.get(fragment, headers={"If-None-Match": running["ETag"]})
    assert waiting.status_code == 200
    assert "/decide" in waiting.text
    assert f'hx-get="{fragment}"' in waiting.text
    store.cancel(execution.pk, reason="", by="")
    ended = web.get(fragment, headers={"If-None-Match": waiting["ETag"]})
    assert "CANCELLED" in ended.text
    assert "hx-get" not in ended.text
    assert "hx-get" not in read(own(execution, "tasks/ask/items/1")).split("<article", 1)[1].split("</article>", 1)[0]
    assert web.get(own(execution, "tasks/ask/items/9/fragment")).status_code == 404


def test_an_item_is_decided_on_its_page(read, send):
    execution = started({**ASK, "for_each": "{{[1, 2]}}", "concurrency": 2})
    for _ in range(2):
        ask(claim(execution), on_reject="continue")
    page = own(execution, "tasks/ask/items/1")
    assert "Go on?" in read(page)
    assert send(page, own(execution, "tasks/ask[1]/decide"), decision="approve").status_code == 302
    assert "approved" in read(page)


# --- several at once ---
def test_ticked_executions(send, read):
    workflow = make_workflow()
    made = [
        make_execution(workflow, status, created_at=START + timedelta(seconds=n))
        for n, status in enumerate((ExecutionStatus.FAILED, ExecutionStatus.CANCELLED, ExecutionStatus.COMPLETED))
    ]
    html = read("/executions")
    assert all(f'value="{execution.pk}" id="tick-' in html for execution in made)
    ids = [execution.pk for execution in made]
    answer = send("/executions", "/pages/executions/bulk", verb="resume", ids=ids, back="/executions?status=PENDING")
    assert answer["Location"] == "/executions?status=PENDING"
    after = read("/executions?status=PENDING")
    assert "Resumed: 2 of 3." in after
    assert f"Execution {ids[2]} is COMPLETED" in after
    assert set(Execution.objects.filter(status="PENDING").values_list("pk", flat=True)) == set(ids[:2])


@pytest.mark.parametrize(
    ("verb", "status", "said"), [("cancel", "RUNNING", "Cancelled: 1 of 1."), ("rerun", "FAILED", "Started again: 1 of 1.")]
)  # fmt: skip
def test_each_verb(send, read, verb, status, said):
    execution = make_execution(status=ExecutionStatus(status))
    send("/executions", "/pages/executions/bulk", verb=verb, ids=[execution.pk])
    assert said in read("/executions")


def test_nothing_was_ticked(send, read):
    make_execution()
    assert send("/executions", "/pages/executions/bulk", verb="cancel").status_code == 302
    assert "Nothing was ticked." in read("/executions")


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_back_stays_on_this_site(send, back):
    make_execution()
    answer = send("/executions", "/pages/executions/bulk", verb="cancel", back=back)
    assert answer["Location"] == "/executions"


@pytest.mark.parametrize("ids", [["we-unknown"], ["\0"], ["x" * 500]])
def test_odd_ids(send, read, ids):
    make_execution()
    assert send("/executions", "/pages/executions/bulk", verb="rerun", ids=ids).status_code == 302
    assert Execution.objects.count() == 1


def test_an_odd_verb(send):
    make_execution()
    assert send("/executions", "/pages/executions/bulk", verb="explode", ids=["we-1"]).status_code == 404


# --- waits in words ---
@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        ({"for": "retry"}, "waits for the next try"),
        ({"for": "timer"}, "goes on"),
        ({"for": "approval"}, "waits for approval"),
        ({"for": "child"}, "waits for execution"),
    ],
)
def test_waits_in_words(read, waiting, words):
    later = START.replace(year=2125)
    execution = make_execution(status=ExecutionStatus.RUNNING, wake_at=later)
    since = {"since": "2025-11-23T08:00:00Z"}
    make_task_run(execution, "first", TaskStatus.WAITING, waiting=waiting | since, due_at=later, child="")
    head = read(address(execution)).split('class="facts panel"')[0]
    assert words in head


def test_the_wait_for_a_slot_in_words(read):
    workflow = make_workflow()
    limited = {"concurrency_key": "k", "concurrency_limit": 1}
    make_execution(workflow, ExecutionStatus.RUNNING, **limited)
    parked = make_execution(workflow, ExecutionStatus.PENDING, **limited)
    assert "waits for a free slot: 1 of 1 of this workflow run." in read(address(parked))


def test_what_failed_again_after_a_resume_shows_every_try(send, read):
    execution = broken()
    send(address(execution), own(execution, "resume"))
    end(claim(execution), failed())
    html = read(address(execution))
    assert f"try-{CHAIN[1]['name']}-1" in html
    assert f"try-{CHAIN[1]['name']}-2" in html
