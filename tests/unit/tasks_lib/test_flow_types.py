"""``flow.*`` and ``workflow.run``: what they ask the engine to wait for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dataflow.lib.errors import TASK_ERROR_CODES, TaskError
from dataflow.lib.times import rfc3339
from tasks_lib import registry
from tasks_lib.base import Wait
from tasks_lib.moments import read_moment
from tests.stubs.context import StubContext, start

WAITING = ("flow.wait", "flow.approval", "workflow.run")


def wait(folder: Path, name: str, **inputs: Any) -> Wait:
    asked = start(registry.load().types[name], StubContext(folder), **inputs)
    assert isinstance(asked, Wait)
    return asked


def refusal(folder: Path, name: str, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as error:
        start(registry.load().types[name], StubContext(folder), **inputs)
    return error.value


@pytest.mark.parametrize("name", WAITING)
def test_the_example_waits(tmp_path: Path, name: str) -> None:
    assert wait(tmp_path, name, **registry.load().types[name].example).kind in ("timer", "approval", "child")


@pytest.mark.parametrize("name", WAITING)
def test_the_description_says_that_the_timeout_does_not_end_the_wait(name: str) -> None:
    assert "`timeout` of the task" in " ".join(registry.load().types[name].description.split())


@pytest.mark.parametrize("seconds", [0, 1, 2.5, 366 * 86_400])
def test_wait_for_seconds(tmp_path: Path, seconds: float) -> None:
    asked = wait(tmp_path, "flow.wait", seconds=seconds)
    assert (asked.kind, asked.seconds, asked.until) == ("timer", seconds, None)
    assert asked.data["outputs"]["seconds"] == seconds
    assert read_moment(asked.data["outputs"]["until"]).tzinfo is UTC


def test_wait_until_a_moment(tmp_path: Path) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)
    elsewhere = moment.astimezone(read_moment("2026-01-01T00:00:00Z").tzinfo).isoformat().replace("+00:00", "z")
    asked = wait(tmp_path, "flow.wait", until=elsewhere)
    assert (asked.kind, asked.seconds, asked.until) == ("timer", None, moment)
    assert asked.data["outputs"]["until"] == rfc3339(moment)
    assert 364 * 86_400 < asked.data["outputs"]["seconds"] <= 365 * 86_400


def test_a_moment_that_is_over_does_not_wait(tmp_path: Path) -> None:
    asked = wait(tmp_path, "flow.wait", until="2001-02-03T04:05:06+01:00")
    assert asked.until == datetime(2001, 2, 3, 3, 5, 6, tzinfo=UTC)
    assert asked.data["outputs"] == {"until": "2001-02-03T03:05:06Z", "seconds": 0}


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"seconds": 1, "until": "2026-12-24T18:00:00Z"},
        {"until": "9999-12-31T23:59:59Z"},
        {"until": "2026-12-24T18:00:00"},
        {"until": "2026-02-30T18:00:00Z"},
        {"until": "9999-12-31T23:59:59-14:00"},
        {"until": ""},
    ],
)
def test_a_wait_that_cannot_be(tmp_path: Path, inputs: dict[str, Any]) -> None:
    error = refusal(tmp_path, "flow.wait", **inputs)
    assert (error.code, error.retryable) == ("validation", False)
    assert "until" in error.message


def test_an_approval(tmp_path: Path) -> None:
    form = [{"name": "budget", "type": "number"}]
    asked = wait(tmp_path, "flow.approval", title="Go?", message="Look.", form=form, timeout=60, on_reject="continue")
    assert (asked.kind, asked.seconds, asked.until) == ("approval", 60, None)
    assert asked.data == {"title": "Go?", "message": "Look.", "form": form, "on_reject": "continue"}


def test_an_approval_with_nothing_said(tmp_path: Path) -> None:
    asked = wait(tmp_path, "flow.approval")
    assert asked.seconds == 7 * 86_400
    assert asked.data == {"title": "Approval needed", "message": "", "form": [], "on_reject": "fail"}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (["budget"], "field 1 is not an object"),
        ([{"name": "a", "type": "text"}, {"type": "text"}], "field 2 needs a `name`"),
        ([{"name": "a b", "type": "text"}], "field 1 needs a `name`"),
        ([{"name": "é", "type": "text"}], "field 1 needs a `name`"),
        ([{"name": ["a"], "type": "text"}], "field 1 needs a `name`"),
        ([{"name": "x" * 65, "type": "text"}], "field 1 needs a `name`"),
        ([{"name": "a", "type": "texts"}], "field 1 needs a `type`"),
        ([{"name": "a", "type": ["text"]}], "field 1 needs a `type`"),
        ([{"name": "a", "type": "text"}] * 2, "two fields have the name `a`"),
        ([{"name": f"f{n}", "type": "text"} for n in range(101)], "more than 100 fields"),
    ],
)
def test_a_form_that_nobody_could_fill_in(tmp_path: Path, form: list[Any], said: str) -> None:
    error = refusal(tmp_path, "flow.approval", form=form)
    assert error.code == "validation"
    assert said in error.message


@pytest.mark.parametrize("code", sorted(TASK_ERROR_CODES))
def test_a_failure(tmp_path: Path, code: str) -> None:
    error = refusal(tmp_path, "flow.fail", message="Enough.", code=code)
    assert (error.code, error.message, error.retryable) == (code, "Enough.", False)


def test_a_failure_without_a_code_or_a_word(tmp_path: Path) -> None:
    assert refusal(tmp_path, "flow.fail", message="Enough.").code == "runtime"
    assert refusal(tmp_path, "flow.fail", message="").message


def test_a_workflow(tmp_path: Path) -> None:
    asked = wait(tmp_path, "workflow.run", workflow_id="wf-1", inputs={"a": 1}, version=2.0, timeout=5)
    assert (asked.kind, asked.seconds, asked.until) == ("child", 5, None)
    assert asked.data == {"workflow_id": "wf-1", "inputs": {"a": 1}, "version": 2}
    assert isinstance(asked.data["version"], int)


def test_a_workflow_and_nothing_else(tmp_path: Path) -> None:
    asked = wait(tmp_path, "workflow.run", workflow_id="wf-1")
    assert (asked.seconds, asked.data) == (None, {"workflow_id": "wf-1", "inputs": {}, "version": None})


def test_half_a_version(tmp_path: Path) -> None:
    assert refusal(tmp_path, "workflow.run", workflow_id="wf-1", version=1.5).code == "validation"


def test_a_workflow_names_none_of_its_outputs() -> None:
    task_type = registry.load().types["workflow.run"]
    assert (task_type.any_outputs, registry.default_output(task_type)) == (True, "")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-24T18:00:00Z", datetime(2026, 12, 24, 18, tzinfo=UTC)),
        ("2026-12-24 18:00:00.25+05:30", datetime(2026, 12, 24, 12, 30, 0, 250_000, tzinfo=UTC)),
        ("2026-12-24t18:00:00.123456789z", datetime(2026, 12, 24, 18, 0, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    assert read_moment(text) == moment


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-12-24", "2026-12-24T18:00Z", "20261224T180000Z", "2026-12-24T24:30:00Z", "٢٠٢٦-12-24T18:00:00Z"],
)
def test_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is not|must be|[Ii]nvalid"):
        read_moment(text)
