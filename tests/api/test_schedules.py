"""``/workflows/{id}/schedules`` and ``…/{sc}``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from executions.database import database_now
from executions.models import Execution
from executions.trigger_models import Schedule
from executions.triggers import schedules
from executions.triggers.schedules import run_due
from tests.api_client import Api, assert_problem, rows
from tests.factories import DOCUMENT, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow, update_workflow

pytestmark = pytest.mark.django_db

EVERY = {"every_minutes": 10, "inputs": {"text": "x"}}
FIELDS = {
    "schedule_id", "workflow_id", "cron", "timezone", "every_minutes", "inputs", "labels", "missed", "enabled",
    "next_run_at", "next_runs", "last_run_at", "last_execution", "last_error", "created_by", "created_at",
}  # fmt: skip


@pytest.fixture
def path(workflow: Workflow) -> str:
    return f"/workflows/{workflow.pk}/schedules"


def test_it_works(api: Api, path: str) -> None:
    document = {
        "cron": " 0  8 * * mon-fri ", "timezone": "Europe/Berlin", "inputs": {"text": "x"}, "labels": {"a": "b"}, "missed": "run_once",
    }  # fmt: skip
    answer = api.send("POST", path, document, status=201)
    made = answer.json()
    assert set(made) == FIELDS
    assert answer.headers["Location"] == f"{path}/{made['schedule_id']}"
    assert made["schedule_id"].startswith("sc-")
    assert {name: made[name] for name in document} == document | {"cron": "0 8 * * mon-fri"}
    assert made["enabled"] is True
    assert len(made["next_runs"]) == 5
    assert made["next_runs"][0] == made["next_run_at"]
    assert made["next_runs"] == sorted(set(made["next_runs"]))
    assert all(run.endswith(":00:00Z") for run in made["next_runs"])
    assert api.call("GET", answer.headers["Location"], status=200) == made
    assert api.call("GET", path, status=200) == {"schedules": [made], "next_cursor": None}
    assert not Execution.objects.exists()


def test_what_ran_last(api: Api, path: str) -> None:
    made = api.call("POST", path, EVERY, status=201)
    Schedule.objects.update(next_run_at=database_now())
    assert run_due() == 1
    execution = Execution.objects.get()
    shown = api.call("GET", f"{path}/{made['schedule_id']}", status=200)
    url = f"/workflows/{execution.workflow_id}/executions/{execution.pk}"
    assert shown["last_execution"] == {"workflow_execution_id": execution.pk, "status": "PENDING", "url": url}
    assert shown["last_run_at"]
    assert api.call("GET", url, status=200)["trigger"] == "schedule"


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ([], [""]),
        ("x", [""]),
        ({}, ["/cron", "/inputs/text"]),
        (EVERY | {"cron": "0 8 * * *"}, ["/cron"]),
        (EVERY | {"timezone": "UTC"}, ["/timezone"]),
        (EVERY | {"colour": 1, "enabld": True, "a/b": 1}, ["/colour", "/enabld", "/a~1b"]),
        (EVERY | {"every_minutes": 0}, ["/every_minutes"]),
        (EVERY | {"every_minutes": 44641}, ["/every_minutes"]),
        (EVERY | {"every_minutes": 1.5}, ["/every_minutes"]),
        (EVERY | {"every_minutes": True}, ["/every_minutes"]),
        (EVERY | {"every_minutes": "10"}, ["/every_minutes"]),
        (EVERY | {"missed": "SKIP", "enabled": 1, "labels": {"a": 1}}, ["/missed", "/enabled", "/labels/a"]),
        (EVERY | {"missed": ["skip"], "labels": []}, ["/missed", "/labels"]),
        (EVERY | {"inputs": {"text": 1, "more": 2}}, ["/inputs/text", "/inputs/more"]),
        (EVERY | {"inputs": ["x"]}, ["/inputs"]),
        ({"cron": "0 8 * *", "timezone": "Europe/Berlln", "inputs": {}}, ["/cron", "/timezone", "/inputs/text"]),
        ({"cron": "* * * * * *", "inputs": {"text": "x"}}, ["/cron"]),
        ({"cron": "99 * * * *", "inputs": {"text": "x"}}, ["/cron"]),
        ({"cron": "9" * 10_000, "inputs": {"text": "x"}}, ["/cron"]),
        ({"cron": 5, "timezone": 5, "inputs": {"text": "x"}}, ["/cron", "/timezone"]),
        ({"cron": "0 8 * * *", "timezone": "../../etc/passwd", "inputs": {"text": "x"}}, ["/timezone"]),
        ({"cron": "0 8 * * *", "timezone": "", "inputs": {"text": "x"}}, ["/timezone"]),
        ({"cron": "0 8 * * *", "timezone": "America", "inputs": {"text": "x"}}, ["/timezone"]),
    ],
)
def test_bad_input(api: Api, path: str, document: Any, pointers: list[str]) -> None:
    made = api.call("POST", path, EVERY, status=201)
    before = rows()
    for method, address in (("POST", path), ("PUT", f"{path}/{made['schedule_id']}")):
        assert_problem(api.send(method, address, document, status=400), 400, "validation", at=pointers)
    assert rows() == before
    assert api.call("GET", f"{path}/{made['schedule_id']}", status=200) == made


def test_hints_help(api: Api, path: str) -> None:
    document = {"cron": "0 8 * * *", "timezone": "europe/berlin", "inputs": {"txt": "x"}, "mised": "skip"}
    problem = api.call("POST", path, document, status=400)
    hints = {error["pointer"]: error.get("hint", "") for error in problem["errors"]}
    assert "Europe/Berlin" in hints["/timezone"]
    assert "`text`" in hints["/inputs/txt"]
    assert "`missed`" in hints["/mised"]


@pytest.mark.parametrize("body", [b" ", b"{", b'{"cron": NaN}', b"[" * 100_000, b'{"cron": "\\ud800"}', b'{"a": 1, "a": 2}', b'{"cron": "\\u0000"}'])  # fmt: skip
def test_odd_json(api: Api, path: str, body: bytes) -> None:
    assert_problem(api.raw("POST", path, body), 400, "invalid_json")
    assert not Schedule.objects.exists()


def test_put_replaces_and_patch_merges(api: Api, path: str) -> None:
    made = api.call("POST", path, EVERY | {"labels": {"a": "b"}, "missed": "run_once"}, status=201)
    one = f"{path}/{made['schedule_id']}"
    patched = api.call("PATCH", one, {"labels": {"c": "d"}, "inputs": {"text": "y"}}, status=200)
    assert (patched["labels"], patched["inputs"]) == ({"a": "b", "c": "d"}, {"text": "y"})
    assert (patched["missed"], patched["next_runs"]) == ("run_once", made["next_runs"])
    cron = api.call("PATCH", one, {"every_minutes": None, "cron": "0 8 * * *", "timezone": "Asia/Tokyo"}, status=200)
    assert (cron["every_minutes"], cron["cron"], cron["timezone"]) == (None, "0 8 * * *", "Asia/Tokyo")
    assert cron["next_run_at"].endswith("T23:00:00Z")
    replaced = api.call("PUT", one, EVERY, status=200)
    assert (replaced["labels"], replaced["missed"], replaced["cron"]) == ({}, "skip", None)
    problem = api.send("PATCH", one, {"cron": "0 8 * * *"}, status=400)
    assert_problem(problem, 400, at=["/cron"])
    assert_problem(api.send("PATCH", one, ["x"], status=400), 400, at=[""])


@pytest.mark.parametrize("zone", [{}, {"timezone": "Asia/Tokyo"}])
def test_a_zone_goes_with_its_cron(api: Api, path: str, zone: Any) -> None:
    made = api.call("POST", path, {"cron": "0 8 * * *", "inputs": {"text": "x"}} | zone, status=201)
    one = f"{path}/{made['schedule_id']}"
    minutes = {"cron": None, "every_minutes": 5}
    refused = api.send("PATCH", one, minutes | {"timezone": "Europe/Berlin"}, status=400)
    assert_problem(refused, 400, at=["/timezone"])
    patched = api.call("PATCH", one, minutes, status=200)
    assert (patched["cron"], patched["every_minutes"]) == (None, 5)


def test_pause_twice_and_resume(api: Api, path: str) -> None:
    one = f"{path}/{api.call('POST', path, EVERY, status=201)['schedule_id']}"
    for _ in range(2):
        paused = api.call("PATCH", one, {"enabled": False}, status=200)
        assert (paused["enabled"], paused["next_run_at"], paused["next_runs"]) == (False, None, [])
    resumed = api.call("PATCH", one, {"enabled": True}, status=200)
    assert api.call("PATCH", one, {"enabled": True}, status=200) == resumed
    assert len(resumed["next_runs"]) == 5


def test_what_does_not_fit_any_more_can_be_paused(api: Api, path: str, workflow: Workflow) -> None:
    one = f"{path}/{api.call('POST', path, EVERY, status=201)['schedule_id']}"
    update_workflow(
        workflow=workflow, document=DOCUMENT | {"inputs": [*DOCUMENT["inputs"], {"name": "n", "type": "number"}]}
    )
    assert api.call("PATCH", one, {"enabled": False}, status=200)["enabled"] is False
    assert_problem(api.send("PATCH", one, {"inputs": {"text": "z"}}, status=400), 400, at=["/inputs/n"])


def test_delete_twice(api: Api, path: str) -> None:
    one = f"{path}/{api.call('POST', path, EVERY, status=201)['schedule_id']}"
    api.call("DELETE", one, status=204)
    for method in ("DELETE", "GET", "PUT", "PATCH"):
        assert_problem(api.send(method, one, EVERY, status=404), 404, "not_found")


def test_an_archived_workflow(api: Api, path: str, workflow: Workflow) -> None:
    one = f"{path}/{api.call('POST', path, EVERY, status=201)['schedule_id']}"
    archive_workflow(workflow=workflow)
    assert api.call("GET", one, status=200)["next_runs"] == []
    assert_problem(api.send("POST", path, EVERY, status=409), 409, "archived")
    api.call("DELETE", one, status=204)


def test_limits(api: Api, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 2)
    for _ in range(2):
        api.call("POST", path, EVERY | {"every_minutes": 44640}, status=201)
    assert_problem(api.send("POST", path, EVERY, status=409), 409, "too_many")
    page = api.send("GET", f"{path}?limit=1", status=200)
    assert 'rel="next"' in page.headers["Link"]
    rest = api.call("GET", f"{path}?limit=1&cursor={page.json()['next_cursor']}", status=200)
    assert rest["next_cursor"] is None
    assert rest["schedules"][0]["schedule_id"] != page.json()["schedules"][0]["schedule_id"]


def test_of_another_workflow(api: Api, path: str) -> None:
    made = api.call("POST", path, EVERY, status=201)
    other = f"/workflows/{make_workflow().pk}/schedules"
    assert_problem(api.send("GET", f"{other}/{made['schedule_id']}", status=404), 404)
    assert_problem(api.send("GET", "/workflows/wf-unknown/schedules", status=404), 404)


def test_permission(api: Api, path: str, settings: Any) -> None:
    one = f"{path}/{api.call('POST', path, EVERY, status=201)['schedule_id']}"
    changes = [("POST", path), ("PUT", one), ("PATCH", one), ("DELETE", one)]
    settings.DEBUG = False
    before = rows()
    for method, address in [*changes, ("GET", one), ("GET", path)]:
        assert_problem(api.send(method, address, EVERY, status=401), 401)
    api.force_login(get_user_model().objects.create_user("reader"))
    api.call("GET", one, status=200)
    for method, address in changes:
        assert_problem(api.send(method, address, EVERY, status=403), 403)
    assert rows().items() >= {name: before[name] for name in before if "schedule" in name}.items()
    api.force_login(get_user_model().objects.create_user("staff", is_staff=True))
    assert api.call("POST", path, EVERY, status=201)["created_by"] == "staff"


def test_runs_are_foretold_as_they_come(api: Api, path: str) -> None:
    made = api.call("POST", path, EVERY, status=201)
    row = Schedule.objects.get()
    assert row.next_run_at is not None
    assert run_due(row.next_run_at + timedelta(seconds=30)) == 1
    shown = api.call("GET", f"{path}/{made['schedule_id']}", status=200)
    assert shown["next_runs"][:4] == made["next_runs"][1:]
