"""Addresses that only pages have. What the API has too is told apart by ``Accept`` in ``dataflow/urls.py``.

Include it before the API's patterns: ``/workflows/new`` is not the id of a workflow.
"""

from __future__ import annotations

from django.urls import URLPattern, re_path

from dataflow.catalogue import TryPage
from dataflow.pages import HomeFragment, HomePage, favicon
from executions.item_pages import ItemFragment, ItemPage, ItemsPage
from executions.list_pages import ExecutionListFragment
from executions.pages import (
    CancelPage,
    ExecutionFragment,
    RedeliverPage,
    RunPage,
    ValuePage,
)
from executions.secret_pages import DeletePage
from executions.triggers.pages import HookActionPage, ScheduleActionPage
from executions.verb_pages import BulkPage, DecisionPage, OpenPage, RerunPage, ResumePage
from workflows.pages import ArchivePage, EditPage, RestorePage

_WORKFLOW = r"(?P<workflow_id>wf-[a-z0-9]{1,37})"
_TASK_RUN = r"(?P<name>[A-Za-z_][A-Za-z0-9_]{0,63}(?:\[[0-9]{1,9}\])?)"
_EXECUTION = r"(?P<execution_id>we-[a-z0-9]{1,37})"

urlpatterns: list[URLPattern] = [
    re_path(r"^favicon\.ico$", favicon, name="page-favicon"),
    re_path(r"^$", HomePage.as_view(), name="page-home"),
    re_path(r"^workflows/new/?$", EditPage.as_view(), name="page-new"),
    re_path(rf"^workflows/{_WORKFLOW}/edit/?$", EditPage.as_view(), name="page-edit"),
    re_path(rf"^workflows/{_WORKFLOW}/run/?$", RunPage.as_view(), name="page-run"),
    re_path(r"^task-types/(?P<name>[A-Za-z0-9._-]{1,100})/try/?$", TryPage.as_view(), name="page-try"),
    re_path(r"^pages/overview/?$", HomeFragment.as_view(), name="page-overview-fragment"),
    re_path(r"^pages/executions/?$", ExecutionListFragment.as_view(), name="page-executions-fragment"),
    re_path(
        rf"^pages/workflows/{_WORKFLOW}/executions/?$",
        ExecutionListFragment.as_view(),
        name="page-workflow-executions-fragment",
    ),
    re_path(rf"^pages/executions/{_EXECUTION}/?$", ExecutionFragment.as_view(), name="page-execution-fragment"),
    re_path(rf"^pages/executions/{_EXECUTION}/value/?$", ValuePage.as_view(), name="page-value"),
    re_path(rf"^pages/executions/{_EXECUTION}/cancel/?$", CancelPage.as_view(), name="page-cancel"),
    re_path(rf"^pages/executions/{_EXECUTION}/resume/?$", ResumePage.as_view(), name="page-resume"),
    re_path(rf"^pages/executions/{_EXECUTION}/rerun/?$", RerunPage.as_view(), name="page-rerun"),
    re_path(rf"^pages/executions/{_EXECUTION}/open/?$", OpenPage.as_view(), name="page-open"),
    re_path(rf"^pages/executions/{_EXECUTION}/tasks/{_TASK_RUN}/decide/?$", DecisionPage.as_view(), name="page-decide"),
    re_path(rf"^pages/executions/{_EXECUTION}/tasks/{_TASK_RUN}/items/?$", ItemsPage.as_view(), name="page-items"),
    re_path(
        rf"^pages/executions/{_EXECUTION}/tasks/{_TASK_RUN}/items/(?P<item>[0-9]{{1,9}})/?$",
        ItemPage.as_view(),
        name="page-item",
    ),
    re_path(
        rf"^pages/executions/{_EXECUTION}/tasks/{_TASK_RUN}/items/(?P<item>[0-9]{{1,9}})/fragment/?$",
        ItemFragment.as_view(),
        name="page-item-fragment",
    ),
    re_path(r"^pages/executions/bulk/?$", BulkPage.as_view(), name="page-bulk"),
    re_path(
        r"^pages/deliveries/(?P<delivery_id>msg-[a-z0-9]{1,36})/redeliver/?$",
        RedeliverPage.as_view(),
        name="page-redeliver",
    ),
    re_path(
        r"^pages/(?P<what>secrets|connections)/(?P<name>[A-Za-z0-9_.-]{1,200})/delete/?$",
        DeletePage.as_view(),
        name="page-stored-delete",
    ),
    re_path(rf"^pages/workflows/{_WORKFLOW}/archive/?$", ArchivePage.as_view(), name="page-archive"),
    re_path(
        rf"^pages/workflows/{_WORKFLOW}/versions/(?P<number>[0-9]{{1,9}})/restore/?$",
        RestorePage.as_view(),
        name="page-restore",
    ),
    re_path(
        rf"^pages/workflows/{_WORKFLOW}/schedules/(?P<schedule_id>sc-[a-z0-9]{{1,37}})/(?P<action>pause|resume|delete)/?$",
        ScheduleActionPage.as_view(),
        name="page-schedule",
    ),
    re_path(
        rf"^pages/workflows/{_WORKFLOW}/hooks/(?P<hook_id>hk-[a-z0-9]{{1,37}})/(?P<action>on|off|rotate|delete)/?$",
        HookActionPage.as_view(),
        name="page-hook",
    ),
]
