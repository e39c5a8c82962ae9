"""Probes: alive, and ready to take and run executions."""

from __future__ import annotations

from django.core.files.storage import default_storage
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from executions.database import database_now
from executions.present import has_live_worker


class HealthView(APIView):
    """``/healthz``: this process answers."""

    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request) -> Response:
        """Always 200 while the process is alive."""
        return Response({"status": "ok"})


class ReadyView(APIView):
    """``/readyz``: database, migrations, workers and storage are fine; 503 says which is not."""

    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request) -> Response:
        """The state of each part, with how to mend it."""
        checks = {"database": _database()}
        if checks["database"] == "ok":
            checks |= {"workers": _workers(), "storage": _storage()}
        ready = all(state == "ok" for state in checks.values())
        return Response({"status": "ok" if ready else "unready", "checks": checks}, status=200 if ready else 503)


def _database() -> str:
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        return f"cannot be reached: {str(error).strip()[:200]}"
    return "ok" if not pending else f"{len(pending)} migrations are missing; run: manage.py migrate"


def _workers() -> str:
    return "ok" if has_live_worker(database_now()) else "no worker is running; start one with: manage.py worker"


def _storage() -> str:
    try:
        default_storage.exists("probe")
    except OSError as error:
        return f"cannot be read: {error}"
    return "ok"
