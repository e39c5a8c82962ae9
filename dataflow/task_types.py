"""The HTTP API of task types."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dataflow.lib.errors import not_found
from tasks_lib import registry


class TaskTypesView(APIView):
    """``/task-types``."""

    def get(self, request: Request) -> Response:
        """Every task type with its specification."""
        return Response({"task_types": [{"specification": registry.specification(one)} for one in registry.all()]})


class TaskTypeView(APIView):
    """``/task-types/{type}``."""

    def get(self, request: Request, name: str) -> Response:
        """The specification of one type, by any of its spellings."""
        task_type = registry.get(name)
        if task_type is None:
            raise not_found("task type", name[:100])
        return Response({"specification": registry.specification(task_type)})
