"""``workflow.run`` in a definition: the workflow it names must be there, and must not lead back or too deep."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api_client import Api, assert_problem, rows

pytestmark = pytest.mark.django_db


def document(*called: Any, title: str = "Caller") -> dict[str, Any]:
    """A workflow that calls these, one after the other; none: a text."""
    tasks: list[dict[str, Any]] = [{"name": "said", "type": "text.static", "inputs": {"text": "x"}}]
    for number, identifier in enumerate(called):
        tasks.append({"name": f"c{number}", "type": "workflow.run", "inputs": {"workflow_id": identifier}})
    return {"title": title, "tasks": tasks}


def make(api: Api, *called: Any) -> str:
    return str(api.call("POST", "/workflows", document(*called), status=201)["workflow_id"])


def refused(answer: Any, pointer: str, code: str) -> str:
    problem = assert_problem(answer, 400, "validation", at={pointer})
    (error,) = problem["errors"]
    assert error["code"] == code
    assert error["hint"]
    return str(error["detail"])


def test_it_works(api: Api) -> None:
    child = make(api)
    make(api, child, child, "{{execution.id}}")


def test_a_workflow_that_is_not_there(api: Api) -> None:
    before = rows()
    answer = api.send("POST", "/workflows", document("wf-nobody"), status=400)
    assert "wf-nobody" in refused(answer, "/tasks/1/inputs/workflow_id", "unknown_workflow")
    assert rows() == before
    refused(
        api.send("POST", "/workflows/validate", document("wf-nobody"), status=400),
        "/tasks/1/inputs/workflow_id",
        "unknown_workflow",
    )


def chat(*tools: Any, name: str = "openai.chat") -> dict[str, Any]:
    inputs = {"messages": [{"role": "user", "content": "x"}], "tools": [{"workflow": one} for one in tools]}
    return {"title": "Chat", "tasks": [{"name": "c", "type": name, "inputs": inputs}]}


def test_tools_of_a_chat(api: Api) -> None:
    there, archived = make(api), make(api)
    api.send("DELETE", f"/workflows/{archived}", status=204)
    made = api.call("POST", "/workflows", chat(there, name="OpenAI.Chat"), status=201)["workflow_id"]
    api.call("PUT", f"/workflows/{made}", chat(there, made), status=200)
    answer = api.send("POST", "/workflows", chat("wf-nobody", there, archived), status=400)
    place = "/tasks/0/inputs/tools"
    problem = assert_problem(answer, 400, "validation", at={f"{place}/0/workflow", f"{place}/2/workflow"})
    assert [error["code"] for error in problem["errors"]] == ["unknown_workflow", "archived"]


@pytest.mark.parametrize("identifier", ["x" * 100, "🙂", "' or 1=1", "wf-a/b~c"])
def test_odd_ids(api: Api, identifier: str) -> None:
    answer = api.send("POST", "/workflows", document(identifier), status=400)
    refused(answer, "/tasks/1/inputs/workflow_id", "unknown_workflow")


def test_every_call_is_named(api: Api) -> None:
    answer = api.send("POST", "/workflows", document("wf-a", make(api), "wf-b"), status=400)
    assert_problem(answer, 400, "validation", at={"/tasks/1/inputs/workflow_id", "/tasks/3/inputs/workflow_id"})


def test_other_places_and_spellings(api: Api) -> None:
    given = [{"name": "inputs", "value": {}}, {"name": "Workflow_ID", "value": "wf-nobody"}]
    fallback = {"task": "Workflow.Run", "inputs": {"WORKFLOW_ID": "wf-nobody"}}
    tasks = [
        {"name": "a", "type": "Workflow.Run", "inputs": given},
        {"name": "b", "type": "text.static", "inputs": {"text": "x"}, "fallback": fallback},
    ]
    answer = api.send("POST", "/workflows", {"title": "T", "tasks": tasks}, status=400)
    where = {"/tasks/0/inputs/1/value", "/tasks/1/fallback/inputs/WORKFLOW_ID"}
    assert_problem(answer, 400, "validation", at=where)


def test_an_archived_workflow(api: Api) -> None:
    child = make(api)
    caller = make(api, child)
    api.call("PUT", f"/workflows/{caller}", document(), status=200)
    api.send("DELETE", f"/workflows/{child}", status=204)
    refused(api.send("POST", "/workflows", document(child), status=400), "/tasks/1/inputs/workflow_id", "archived")
    answer = api.send("POST", f"/workflows/{caller}/versions/1/restore", status=400)
    refused(answer, "/tasks/1/inputs/workflow_id", "archived")


def test_a_workflow_that_runs_itself(api: Api) -> None:
    own = make(api)
    refused(api.send("PUT", f"/workflows/{own}", document(own), status=400), "/tasks/1/inputs/workflow_id", "cycle")


def test_a_circle(api: Api) -> None:
    first = make(api)
    second = make(api, first)
    third = make(api, make(api), second)
    bad = document(make(api), third)
    before = rows()
    refused(api.send("PUT", f"/workflows/{first}", bad, status=400), "/tasks/2/inputs/workflow_id", "cycle")
    patch = {"tasks": bad["tasks"]}
    answer = api.send("PATCH", f"/workflows/{first}", patch, status=400)
    refused(answer, "/tasks/2/inputs/workflow_id", "cycle")
    assert rows() == before
    api.call("PUT", f"/workflows/{second}", document(), status=200)  # what counts is the current version
    api.call("PUT", f"/workflows/{first}", bad, status=200)


def test_how_deep(api: Api, django_assert_num_queries: Any) -> None:
    chain = [make(api)]
    for _ in range(10):
        chain.append(make(api, chain[0], chain[-1]))  # the way of most steps counts
    answer = api.send("POST", "/workflows", document(chain[0], chain[-1]), status=400)
    refused(answer, "/tasks/2/inputs/workflow_id", "too_deep")
    make(api, chain[-2])
    with django_assert_num_queries(10):
        api.send("POST", "/workflows/validate", document(chain[-1]), status=400)


def test_the_number_of_queries_does_not_grow_with_the_calls(api: Api, django_assert_num_queries: Any) -> None:
    children = [make(api) for _ in range(5)]
    with django_assert_num_queries(1):
        api.call("POST", "/workflows/validate", document(*children * 3), status=200)
    with django_assert_num_queries(0):
        api.call("POST", "/workflows/validate", document("{{execution.id}}"), status=200)


def test_a_diamond_is_no_circle(api: Api) -> None:
    below = make(api)
    make(api, make(api, below), make(api, below))


def test_the_plan_of_a_loop(api: Api) -> None:
    loop = {"name": "each", "type": "text.echo", "for_each": ["a", "b"], "inputs": {"text": "{{item}}"}}
    answer = api.call("POST", "/workflows/validate", {"title": "T", "tasks": [loop]}, status=200)
    assert answer["plan"]["tasks"][0]["for_each"]["count"] == 2
