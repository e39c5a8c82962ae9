"""What a new execution is made of, once its request was checked: for starts, reruns, schedules, hooks and children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from executions import vault
from executions.models import Execution
from executions.outside import OPENAI_KEY, seal
from executions.webhooks import subscription_of
from workflows.definition import Definition, concurrency_key
from workflows.models import Workflow, WorkflowVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A version of a workflow by its numbers, without its definition."""

    workflow_id: str
    version_id: int
    number: int

    @classmethod
    def of(cls, version: WorkflowVersion) -> Self:
        """The numbers of ``version``."""
        return cls(workflow_id=version.workflow_id, version_id=version.pk, number=version.number)


@lru_cache(maxsize=4096)
def frozen_version(workflow_id: str, number: int) -> Frozen:
    """A version of a workflow. Kept: it never changes. Raises ``WorkflowVersion.DoesNotExist``."""
    found = WorkflowVersion.objects.filter(workflow_id=workflow_id, number=number).values_list("pk", flat=True)
    return Frozen(workflow_id=workflow_id, version_id=found.get(), number=number)


def current_version_id(workflow: Workflow) -> int:
    """The key of the version that starts now. No query where this process knows it."""
    return frozen_version(workflow.pk, workflow.current_version).version_id


def build_row(  # noqa: PLR0913 - what a start can say, each by name
    frozen: Frozen,
    definition: Definition,
    values: Mapping[str, Any],
    *,
    monitoring: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    openai_key: str | None = None,
    priority: int = 0,
    trigger: str = "api",
    trigger_ref: str = "",
) -> Execution:
    """The row of an execution with checked ``values``, not stored yet: ``store.create`` does that.

    Without ``monitoring`` the definition's holds. Raises ``ExpressionError`` for a concurrency key that these values
    do not give.
    """
    subscription, secret = subscription_of(definition.monitoring if monitoring is None else monitoring)
    limited = definition.concurrency
    return Execution(
        workflow_id=frozen.workflow_id,
        version_id=frozen.version_id,
        workflow_version=frozen.number,
        title=definition.title,
        inputs=dict(values),
        labels={**definition.labels, **(labels or {})},
        monitoring=subscription,
        webhook_secret=vault.encrypt(secret) if secret else "",
        secrets=sealed(openai_key),
        priority=priority,
        trigger=trigger,
        trigger_ref=trigger_ref,
        concurrency_key=f"{frozen.workflow_id}:{concurrency_key(definition, values)}" if limited else "",
        concurrency_limit=limited.limit if limited else None,
    )


def sealed(openai_key: str | None) -> str:
    """A key given for one execution alone as its row holds it: encrypted, empty for none."""
    return seal({OPENAI_KEY: openai_key}) if openai_key else ""
