"""The catalogue of task types: all of them, one of them, and a form to try it."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from dataflow.api.html import PageView
from dataflow.lib.errors import ApiProblem
from dataflow.reference import example_task, grouped
from dataflow.trying import example_calls, inputs_of, trial_workflow
from executions.pages import start, stored_inputs
from tasks_lib import registry
from tasks_lib.base import TaskType
from workflows.forms import RunForm


class CataloguePage(PageView):
    """What the pages of the catalogue share."""

    here = "task-types"

    def type_page(self, task_type: TaskType, form: RunForm, *, status: int = 200) -> HttpResponse:
        """The page of one type with the form to try it."""
        context = {
            "type": registry.specification(task_type),
            "example": example_task(task_type),
            "calls": example_calls(task_type, self.request.build_absolute_uri("/").rstrip("/")),
            "form": form,
            "action": f"/task-types/{task_type.name}/try",
            "tried": form.is_bound,
        }
        return self.render("task_types/type.html", context, status=status)


class TaskTypeListPage(CataloguePage):
    """The catalogue, by category."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """``?search=`` looks for every word in names, older spellings, titles, descriptions, inputs and outputs."""
        search = request.GET.get("search", "").strip()
        found = [one for one in registry.all() if _matches(one, search.lower().split())]
        groups = {name: [registry.specification(one) for one in types] for name, types in grouped(found).items()}
        context = {"groups": groups, "search": search, "count": len(found)}
        return self.render("task_types/list.html", context)


class TaskTypePage(CataloguePage):
    """One task type: inputs, outputs, errors, its example as JSON and as calls, and a form to try it."""

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """Under its name or any other spelling."""
        task_type = type_or_404(name)
        return self.type_page(task_type, RunForm(inputs_of(task_type), values=task_type.example))


class TryPage(CataloguePage):
    """Runs a task type with given inputs, as a workflow of one task."""

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        """Whoever comes back by the address of the form finds the form."""
        return redirect(f"/task-types/{type_or_404(name).name}#try")

    def post(self, request: HttpRequest, name: str) -> HttpResponse:
        """Start it and go to the execution's page, or show the form again with what is wrong."""
        task_type = type_or_404(name)
        form = RunForm(inputs_of(task_type), request.POST, request.FILES)
        if not form.is_valid():
            return self.type_page(task_type, form, status=400)
        try:
            inputs = stored_inputs(form)
            key = form.cleaned_data["openai_key"] or None
            workflow = trial_workflow(task_type, inputs=inputs, openai_key=key, user=request.user)
            execution = start(request, workflow, form, inputs)
        except ApiProblem as problem:
            form.show_problem(problem)
            return self.type_page(task_type, form, status=problem.status)
        return redirect(f"/workflows/{workflow.pk}/executions/{execution.pk}")


def type_or_404(name: str) -> TaskType:
    """The task type of that name, or of any other spelling. Raises ``Http404``."""
    task_type = registry.get(name)
    if task_type is None:
        raise Http404(f"There is no task type {name}.")
    return task_type


def _matches(task_type: TaskType, words: list[str]) -> bool:
    fields = (*task_type.inputs, *task_type.outputs)
    texts: list[Any] = [task_type.name, task_type.title, task_type.category, task_type.description, *task_type.aliases]
    text = " ".join([*texts, *(field.name for field in fields), *(field.description for field in fields)]).lower()
    return all(word in text for word in words)
