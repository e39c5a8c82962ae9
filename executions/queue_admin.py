"""django-q2's own pages in the admin, read-only and without what could run or unpickle anything.

A schedule can name any function, so its page is gone. The queue's page shows ids and times only: the payload stays
packed. Beside ``executions/queue.py`` the only module that knows django-q2.
"""

from __future__ import annotations

from django.contrib import admin
from django_q import admin as theirs  # importing it registers their pages, which are replaced here
from django_q.models import Failure, OrmQ, Schedule, Success

from dataflow.api.admin import ReadOnlyAdmin

__all__ = ["QueuedJobAdmin", "TaskResultAdmin", "theirs"]


for _model in (Schedule, Success, Failure, OrmQ):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


@admin.register(OrmQ)
class QueuedJobAdmin(ReadOnlyAdmin):
    """Jobs in the queue: doorbells that wait for a worker."""

    list_display = ["id", "key", "lock"]
    fields = ["id", "key", "lock"]


@admin.register(Success, Failure)
class TaskResultAdmin(ReadOnlyAdmin):
    """Jobs that ended, as far as django-q2 keeps them."""

    list_display = ["id", "name", "func", "started", "stopped", "attempt_count"]
    fields = ["id", "name", "func", "cluster", "started", "stopped", "success", "attempt_count"]
    search_fields = ["name", "func"]
