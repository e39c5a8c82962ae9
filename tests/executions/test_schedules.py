"""Schedules: when they run, and that each slot starts once, whoever looks and whatever is broken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from executions import store
from executions.database import database_now
from executions.models import Event, Execution
from executions.trigger_models import Schedule
from executions.triggers.schedules import create_schedule, next_due, patch_schedule, run_due
from executions.triggers.timing import GRACE, Timing, TimingProblem, first_runs, simulation, turn_of
from tests.executions_driver import at_once
from tests.factories import DOCUMENT, make_workflow
from workflows.models import Workflow
from workflows.services import archive_workflow, update_workflow

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}:00+00:00")


def berlin(cron: str, start: str, count: int) -> list[str]:
    runs = first_runs(Timing(cron=cron, timezone="Europe/Berlin"), at(start), count)
    return [f"{run:%d %H:%M}" for run in runs]


# --- timing ---
@pytest.mark.any_database
@pytest.mark.parametrize(
    ("cron", "spring", "autumn"),
    [
        # 02:30 does not exist on 29 March: the first moment after the gap. It comes twice on 25 October: the first.
        ("30 2 * * *", ["29 01:00", "30 00:30"], ["25 00:30", "26 01:30"]),
        ("0,30 2 * * *", ["29 01:00", "30 00:00"], ["25 00:00", "25 00:30", "26 01:00"]),
        ("0 1-4 * * *", ["29 00:00", "29 01:00", "29 02:00", "29 23:00"], ["24 23:00", "25 00:00", "25 02:00"]),
        # With a star it goes by the wall clock and real time.
        ("0 * * * *", ["29 00:00", "29 01:00", "29 02:00"], ["24 23:00", "25 00:00", "25 01:00", "25 02:00"]),
        ("*/30 2 * * *", ["30 00:00", "30 00:30"], ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "26 01:00"]),
        ("0 8 * * *", ["29 06:00", "30 06:00"], ["25 07:00", "26 07:00"]),
    ],
)
def test_both_changes_of_summer_time(cron: str, spring: list[str], autumn: list[str]) -> None:
    assert berlin(cron, "2026-03-28T23:30", len(spring)) == spring
    assert berlin(cron, "2026-10-24T22:30", len(autumn)) == autumn


@pytest.mark.any_database
def test_a_run_is_never_before_the_moment_it_is_asked_for() -> None:
    """In the second 02:10 of the day, 02:30 is over: it was run the first time."""
    assert berlin("30 2 * * *", "2026-10-25T01:10", 1) == ["26 01:30"]


@pytest.mark.any_database
def test_every_so_many_minutes_keeps_its_rhythm() -> None:
    timing = Timing(every_minutes=7)
    assert timing.next_after(NOON) == NOON + 7 * MINUTE
    assert timing.next_after(NOON + 20 * MINUTE, slot=NOON) == NOON + 21 * MINUTE
    assert timing.next_after(NOON + 21 * MINUTE, slot=NOON) == NOON + 28 * MINUTE
    assert timing.next_after(NOON - MINUTE, slot=NOON) == NOON


@pytest.mark.any_database
@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "* * * * * *", "61 * * * *", "* * 30 2 *", "a b c d e", "9" * 5000 + " * * * *", "* * * * ²L", "1/0 * * * *", "@daily", "* * * * 8", "L * * * *", "5-1 * * * *", "\0 * * * *"],
)  # fmt: skip
def test_what_is_no_cron_expression(cron: str) -> None:
    with pytest.raises(TimingProblem):
        simulation(cron, NOON)


@pytest.mark.any_database
def test_an_expression_that_never_comes_true_has_no_run() -> None:
    assert first_runs(Timing(cron="0 0 */30 2 SUN#5"), NOON, 5) == []


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("late", "run_missed", "start", "following"),
    [
        (timedelta(0), False, True, 10),
        (GRACE, False, True, 10),
        (GRACE + timedelta(seconds=1), False, False, 10),
        (GRACE + timedelta(seconds=1), True, True, 10),
        (35 * MINUTE, False, False, 40),
        (35 * MINUTE, True, True, 40),
        (30 * MINUTE + GRACE, False, True, 40),  # the slot of half past is in time
        (365 * 24 * 60 * MINUTE, True, True, 365 * 24 * 60 + 10),
    ],
)
@pytest.mark.parametrize("timing", [Timing(cron="*/10 * * * *"), Timing(every_minutes=10)])
def test_missed_slots(timing: Timing, late: timedelta, run_missed: bool, start: bool, following: int) -> None:
    turn = turn_of(timing, NOON, NOON + late, run_missed=run_missed)
    assert turn.start is start
    assert turn.following == NOON + following * MINUTE


# --- running ---
@pytest.fixture
def workflow(db: None) -> Workflow:
    return make_workflow()


def scheduled(workflow: Workflow, *, due: timedelta = timedelta(0), **fields: Any) -> Schedule:
    """A schedule whose next slot was ``due`` ago."""
    schedule = create_schedule(workflow=workflow, document={"every_minutes": 10, "inputs": {"text": "x"}} | fields)
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=database_now() - due)
    return fresh(schedule)


def fresh(schedule: Schedule) -> Schedule:
    return Schedule.objects.get(pk=schedule.pk)


def test_it_works(workflow: Workflow) -> None:
    schedule = scheduled(workflow, labels={"by": "clock"})
    slot = schedule.next_run_at
    assert slot is not None
    assert next_due() == slot
    assert run_due() == 1
    execution = Execution.objects.get()
    assert (execution.trigger, execution.trigger_ref) == ("schedule", schedule.pk)
    assert (execution.inputs, execution.labels) == ({"text": "x"}, {"by": "clock"})
    assert list(Event.objects.values_list("type", flat=True)) == ["execution.created"]
    after = fresh(schedule)
    assert after.next_run_at == slot + 10 * MINUTE == next_due()
    assert (after.last_run_at, after.last_execution, after.last_error) == (slot, execution, None)
    assert run_due() == 0
    assert Execution.objects.count() == 1


def test_one_query_when_nothing_is_due(workflow: Workflow, django_assert_num_queries: Any) -> None:
    create_schedule(workflow=workflow, document={"every_minutes": 1, "inputs": {"text": "x"}})
    with django_assert_num_queries(1):
        assert run_due() == 0
    assert not Execution.objects.exists()


def test_the_clock_can_be_given(workflow: Workflow) -> None:
    schedule = create_schedule(workflow=workflow, document={"cron": "0 8 * * *", "inputs": {"text": "x"}})
    slot = schedule.next_run_at
    assert slot is not None
    assert run_due(slot - timedelta(seconds=1)) == 0
    assert run_due(slot) == 1
    assert fresh(schedule).next_run_at == slot + timedelta(days=1)


@pytest.mark.parametrize(("missed", "started"), [("skip", 0), ("run_once", 1)])
def test_after_an_hour_without_anybody(workflow: Workflow, missed: str, started: int) -> None:
    schedule = scheduled(workflow, due=timedelta(minutes=65), missed=missed)
    assert run_due() == started
    assert Execution.objects.count() == started
    after = fresh(schedule)
    assert after.next_run_at == schedule.next_run_at + 70 * MINUTE
    assert run_due() == 0


def test_neither_paused_ones_nor_those_of_archived_workflows_run(workflow: Workflow) -> None:
    paused, other = scheduled(workflow), make_workflow()
    patch_schedule(schedule=paused, patch={"enabled": False})
    scheduled(other)
    archive_workflow(workflow=other)
    assert next_due() is None
    assert run_due() == 0
    assert not Execution.objects.exists()
    resumed = patch_schedule(schedule=paused, patch={"enabled": True})
    assert resumed.next_run_at is not None
    assert resumed.next_run_at > database_now() + 9 * MINUTE


@pytest.mark.parametrize("fields", [{"timezone": "Nowhere/Gone", "cron": "0 8 * * *"}, {"cron": "61 * * * *"}, {}])
def test_a_broken_schedule_stops_no_other(workflow: Workflow, fields: dict[str, Any], caplog: Any) -> None:
    """A zone or an expression that is none any more; inputs that do not fit any more."""
    broken, good = scheduled(workflow, due=timedelta(seconds=5)), scheduled(make_workflow())
    if fields:
        Schedule.objects.filter(pk=broken.pk).update(**{"every_minutes": None} | fields, last_execution=None)
    if "cron" not in fields:
        changed = DOCUMENT | {"inputs": [*DOCUMENT["inputs"], {"name": "more", "type": "text"}]}
        update_workflow(workflow=workflow, document=changed)
    now = database_now() + 2 * GRACE if fields else None
    Schedule.objects.filter(pk=good.pk).update(missed="run_once")
    assert run_due(now) == 1
    assert fresh(good).last_execution is not None
    after = fresh(broken)
    assert after.last_execution is None
    assert after.last_error["code"] == ("invalid_cron" if fields else "validation")
    assert after.last_error["detail"]
    if fields:
        assert after.next_run_at is None
    else:
        assert after.last_error["errors"][0]["pointer"] == "/inputs/more"
        assert after.next_run_at == broken.next_run_at + 10 * MINUTE
    assert run_due(now) == 0


def test_a_defect_stops_no_other_and_comes_once(workflow: Workflow, monkeypatch: Any, caplog: Any) -> None:
    broken, good = scheduled(workflow, due=timedelta(seconds=5)), scheduled(make_workflow())
    create = store.create

    def failing(row: Execution, **how: Any) -> None:
        create(row, **how)
        if row.workflow_id == workflow.pk:
            raise RuntimeError("a defect")

    monkeypatch.setattr(store, "create", failing)
    assert run_due() == 1
    assert Execution.objects.get().workflow_id == good.workflow_id
    after = fresh(broken)
    assert after.last_error["code"] == "runtime"
    assert after.next_run_at == broken.next_run_at + 10 * MINUTE
    assert "a defect" in caplog.text
    assert run_due() == 0


def test_what_dies_before_the_commit_leaves_the_slot(workflow: Workflow, monkeypatch: Any) -> None:
    schedule = scheduled(workflow)
    create = store.create

    def dying(row: Execution, **how: Any) -> None:
        create(row, **how)
        raise SystemExit

    monkeypatch.setattr(store, "create", dying)
    with pytest.raises(SystemExit):
        run_due()
    assert not Execution.objects.exists()
    assert fresh(schedule).next_run_at == schedule.next_run_at
    monkeypatch.setattr(store, "create", create)
    assert run_due() == 1


@pytest.mark.django_db(transaction=True)
def test_many_sweepers_at_the_same_time_start_each_slot_once() -> None:
    workflows = [make_workflow() for _ in range(5)]
    for workflow in workflows:
        scheduled(workflow)
    started = at_once(*[run_due] * 4)
    # One that was locked at the moment was being started by another.
    assert sum(started) == 5
    assert sorted(Execution.objects.values_list("workflow_id", flat=True)) == sorted(flow.pk for flow in workflows)


@pytest.mark.django_db(transaction=True)
def test_a_slot_that_was_read_by_two_is_claimed_by_one() -> None:
    """Both have read it as due before either claims it."""
    from executions.triggers import schedules  # noqa: PLC0415 - the claim is private; the race is what is looked at

    schedule = scheduled(make_workflow())
    assert schedule.next_run_at is not None
    claim = partial(schedules._run, schedule.pk, schedule.next_run_at, None)
    assert sorted(at_once(claim, claim)) == [0, 1]
    assert claim() == 0
    assert Execution.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_pause_of_a_running_slot_waits_for_it() -> None:
    schedule = scheduled(make_workflow())
    at_once(run_due, lambda: patch_schedule(schedule=schedule, patch={"enabled": False}))
    after = fresh(schedule)
    assert (after.enabled, after.next_run_at) == (False, None)
    assert run_due() == 0
