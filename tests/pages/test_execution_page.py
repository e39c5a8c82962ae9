"""One execution's page and its live parts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from executions.engine.state import ExecutionStatus, TaskStatus
from executions.models import Attempt, DeliveryAttempt, DeliveryStatus
from tests.factories import START, make_delivery, make_execution, make_file, make_task_run, make_worker, make_workflow

pytestmark = pytest.mark.django_db


def address(execution):
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}"


def finished(**fields):
    execution = make_execution(outputs={"text": "cba"}, **fields)
    for name in ("first", "second", "third"):
        make_task_run(execution, name, inputs={"text": "abc"}, outputs={"text": "cba"})
    return execution


def test_it_works(read):
    html = read(address(finished()))
    assert "COMPLETED" in html
    assert "Reverse and echo" in html
    assert "2.0 s" in html  # its duration, with a unit
    assert "{{tasks.first.outputs.text}}" in html  # the template beside the value
    assert 'datetime="2025-11-23T08:00:00.000Z"' in html
    assert "curl -X POST http://testserver/workflows/" in html


def test_number_of_queries_does_not_grow_with_tasks(read, django_assert_num_queries):
    execution = finished()
    for number in (1, 2, 3):
        run = execution.task_runs.get(name="first")
        Attempt.objects.create(task_run=run, number=number + 10, type="text.static", ended_at=START, inputs={})
    read(address(execution))  # compiles the definition once
    with django_assert_num_queries(4):  # besides what is read by prepared statements, which nobody counts
        read(address(execution))


def test_the_failed_task_and_what_to_do_stand_on_top(read):
    error = {"code": "communication", "message": "The server answered 503.", "task": "second"}
    execution = make_execution(status=ExecutionStatus.FAILED, error=error)
    make_task_run(execution, "first", outputs={"text": "x"})
    make_task_run(execution, "second", TaskStatus.FAILED, error=error, attempt=3)
    html = read(address(execution))
    top = html[: html.index("Timeline")]
    assert 'Task <a href="#task-second">second</a> failed at try 3' in top
    assert "The server answered 503." in top
    assert "What to do:" in top


@pytest.mark.parametrize(("code", "advised"), [("runtime", False), ("validation", False), ("expression", True)])
def test_what_a_flow_fail_says_is_not_explained_as_a_surprise(read, code, advised):
    workflow = make_workflow(
        tasks=[{"name": "check", "type": "flow.fail", "inputs": {"message": "Too much."}}], outputs=[]
    )
    error = {"code": code, "message": "Too much.", "task": "check"}
    execution = make_execution(workflow, ExecutionStatus.FAILED, error=error)
    make_task_run(execution, "check", TaskStatus.FAILED, error=error)
    html = read(address(execution))
    assert "Too much." in html
    assert ("What to do:" in html) is advised


def test_every_try_is_shown_with_its_own_error_and_inputs(read):
    execution = make_execution()
    run = make_task_run(execution, "first", attempt=2, outputs={"text": "x"}, inputs={"text": "sent at last"})
    Attempt.objects.create(
        task_run=run,
        number=1,
        type="text.static",
        started_at=START,
        ended_at=START + timedelta(milliseconds=300),
        inputs={"text": "sent at first"},
        error={"code": "rate_limited", "message": "Slow down."},
    )
    html = read(address(execution))
    assert "Try 1: failed, 300 ms" in html
    assert "rate_limited: Slow down." in html
    assert "sent at first" in html
    assert "Try 2: completed" in html
    assert html.count('<rect class="bar') == 2  # a bar for each try


def test_a_value_may_be_named_like_a_method(read):
    """``values.items`` of a template would be that value."""
    named = {"items": "the-value", "keys": "x", "values": "y"}
    execution = make_execution(inputs=named, labels=named, outputs=named)
    make_task_run(execution, "first", inputs=named, outputs=named, usage=named)
    assert read(address(execution)).count("the-value") >= 5


def test_files_play_and_download(read):
    sound = make_file(metadata={"voice": "local"}).as_value()
    picture = make_file("a.png", "image/png").as_value()
    film = make_file("a.mp4", "video/mp4").as_value()
    drawing = make_file("a.svg", "image/svg+xml").as_value()
    execution = make_execution(outputs={"all": [sound, picture, film, drawing]})
    html = read(address(execution))
    assert f'<audio controls preload="metadata" src="/files/{sound["file_id"]}/content"' in html
    assert f'<img src="/files/{picture["file_id"]}/content"' in html
    assert f'<video controls preload="metadata" src="/files/{film["file_id"]}/content"' in html
    assert f'<img src="/files/{drawing["file_id"]}/content"' not in html  # an SVG is a program
    assert html.count("made by the local voice") == 1
    assert sound["sha256"] in html
    assert "4 B" in html


def test_a_large_value_is_cut_with_a_way_to_the_whole(read, web):
    execution = make_execution(outputs={"text": "x" * 70_000 + "THE END"})
    html = read(address(execution))
    assert "THE END" not in html
    assert "Cut at 65,536 of 70007 characters." in html
    whole = web.get(f"/pages/executions/{execution.pk}/value?kind=outputs&name=text")
    assert whole.content.endswith(b"THE END")
    assert whole["Content-Type"] == "text/plain; charset=utf-8"
    assert whole["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "query", ["", "kind=secrets&name=text", "kind=outputs&name=nope", "kind=outputs&task=x&name=text"]
)
def test_no_other_value_can_be_read(web, query):
    execution = make_execution(outputs={"text": "x"})
    assert web.get(f"/pages/executions/{execution.pk}/value?{query}").status_code == 404


def test_waiting_without_a_worker_says_how_to_start_one(read):
    execution = make_execution(status=ExecutionStatus.PENDING)
    make_worker(silent_for=timedelta(minutes=2))
    html = read(address(execution))
    assert "No worker is running" in html
    assert "manage.py worker" in html
    make_worker()
    assert "No worker is running" not in read(address(execution))


def test_cancel_is_offered_only_while_it_is_alive(read):
    alive = read(address(make_execution(status=ExecutionStatus.RUNNING)))
    assert "/cancel" in alive
    assert "Run again" in alive
    assert "/cancel" not in read(address(make_execution()))


def test_an_unchanged_page_is_answered_with_304(web):
    execution = make_execution(status=ExecutionStatus.RUNNING)
    fragment = f"/pages/executions/{execution.pk}"
    etag = web.get(fragment)["ETag"]
    again = web.get(fragment, headers={"if-none-match": etag})
    assert again.status_code == 304
    assert again.content == b""


def test_a_poll_without_news_reads_no_large_column(web, django_assert_num_queries):
    execution = make_execution(status=ExecutionStatus.RUNNING)
    make_task_run(execution, "first", outputs={"text": "x" * 100_000})
    fragment = f"/pages/executions/{execution.pk}"
    etag = web.get(fragment)["ETag"]
    with django_assert_num_queries(5) as queries:  # execution, tasks, deliveries, clock, workers
        assert web.get(fragment, headers={"if-none-match": etag}).status_code == 304
    assert not any("outputs" in query["sql"] for query in queries.captured_queries)


def test_a_fragment_of_nothing_is_not_found(web):
    assert web.get("/pages/executions/we-nope").status_code == 404


def test_only_what_changed_is_sent(web):
    execution = make_execution(status=ExecutionStatus.RUNNING)
    make_task_run(execution, "first", TaskStatus.RUNNING)
    make_task_run(execution, "second", TaskStatus.PENDING, started_at=None, attempt_started_at=None)
    fragment = f"/pages/executions/{execution.pk}"
    etag = web.get(fragment)["ETag"]
    execution.task_runs.filter(name="first").update(progress=0.5, progress_message="half way")
    news = web.get(fragment, headers={"if-none-match": etag}).content.decode()
    assert "half way" in news
    assert 'hx-swap-oob="innerHTML:#task-first"' in news
    assert news.count("hx-swap-oob") == 1


def test_polling_goes_on_while_it_is_alive_and_stops_at_the_end(read, web):
    execution = make_execution(status=ExecutionStatus.RUNNING)
    assert 'hx-trigger="every 1s, refresh"' in read(address(execution))
    ended = make_execution(execution.workflow)
    assert "hx-trigger" not in read(address(ended))
    assert b"hx-trigger" not in web.get(f"/pages/executions/{ended.pk}").content


def test_webhook_deliveries_with_every_try(read):
    execution = make_execution()
    delivery = make_delivery(execution, status=DeliveryStatus.EXHAUSTED)
    for number in (1, 2):
        DeliveryAttempt.objects.create(
            delivery=delivery, number=number, at=START, duration_ms=12, status_code=500, response="<b>no</b>"
        )
    html = read(address(execution))
    assert "2 tries" in html
    assert html.count("&lt;b&gt;no&lt;/b&gt;") == 2
    assert "Send again" in html
    assert f"/pages/deliveries/{delivery.pk}/redeliver" in html


def test_an_execution_of_another_workflow_is_not_found(web):
    execution, other = make_execution(), make_workflow(title="Other")
    assert web.get(f"/workflows/{other.pk}/executions/{execution.pk}").status_code == 404
    assert web.get(f"/workflows/{other.pk}/executions/we-nope").status_code == 404


def test_cancel_needs_the_token_of_the_form(web, send):
    execution = make_execution(status=ExecutionStatus.PENDING)
    cancel = f"/pages/executions/{execution.pk}/cancel"
    assert web.post(cancel).status_code == 403
    execution.refresh_from_db()
    assert execution.status == "PENDING"
    assert send(address(execution), cancel).status_code == 302
    execution.refresh_from_db()
    assert execution.status == "CANCELLED"


def test_cancelling_what_has_ended_says_so(send):
    execution = make_execution()
    page = f"/workflows/{execution.workflow_id}"
    answer = send(page, f"/pages/executions/{execution.pk}/cancel")
    assert answer.status_code == 409
    assert "has ended" in answer.content.decode()


def test_redeliver_makes_a_settled_delivery_due(send):
    execution = make_execution()
    delivery = make_delivery(execution)
    answer = send(address(execution), f"/pages/deliveries/{delivery.pk}/redeliver")
    assert answer.status_code == 302
    delivery.refresh_from_db()
    assert delivery.status == "PENDING"
