"""The table of models on an execution's page."""

from __future__ import annotations

import pytest

from executions.models import Attempt
from tests.factories import START, make_execution, make_task_run

pytestmark = pytest.mark.django_db


def address(execution):
    return f"/workflows/{execution.workflow_id}/executions/{execution.pk}"


def test_what_was_used_and_what_it_cost(read):
    execution = make_execution()
    usage = {"model": "gpt-4o-mini", "input_tokens": 2_000_000, "output_tokens": 1500}
    run = make_task_run(execution, "first", usage=usage, attempt=2)
    Attempt.objects.create(task_run=run, number=1, type="x", started_at=START, ended_at=START, usage=usage)
    html = read(address(execution))
    table = html[html.index("Models used") : html.index("Inputs</h2>")]
    assert "gpt-4o-mini" in table
    assert "4,000,000" in table
    assert "3,000" in table
    assert "$0.6018" in table
    assert "Seconds" not in table
    task = html[html.index("details-first") : html.index("details-second")]
    assert "<dt>Cost</dt><dd>$0.6018</dd>" in task


def test_a_price_that_is_not_known(read):
    execution = make_execution()
    make_task_run(execution, "first", usage={"model": "house-model", "seconds": 90.5})
    html = read(address(execution))
    assert "not known" in html
    assert "90.5" in html
    assert "<dt>Cost</dt>" not in html


def test_without_models_there_is_no_table(read):
    execution = make_execution()
    make_task_run(execution, "first", usage={"seconds": 2})
    html = read(address(execution))
    assert "Models used" not in html
    assert 'id="part-usage"' in html


def test_names_are_escaped(read):
    execution = make_execution()
    make_task_run(execution, "first", usage={"model": "<script>alert(1)</script>", "seconds": 1})
    assert "<script>alert" not in read(address(execution))
