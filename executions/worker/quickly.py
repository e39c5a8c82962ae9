"""Tasks that take no time worth mentioning are run within the step that starts them: start and end are one write.

Only task types that say so (``TaskType.quick``), and only while nobody who took the execution before died with it:
then its tries are counted one by one, so that a text that kills its worker cannot do so for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from executions import store
from executions.engine.outcomes import Outcome
from executions.engine.planner import Claim, plan
from executions.engine.run import Run
from tasks_lib import registry

#: Items that one write may bring, and seconds until it is written however many they are.
MAX_ITEMS = 500
MAX_SECONDS = 0.05


def is_next(loaded: store.Loaded) -> bool:
    """Whether all that could start now is quick."""
    if loaded.row.takes > 1 or loaded.is_parked:
        return False
    ready = plan(loaded.run)
    return bool(ready) and all(_is_quick(loaded.run, name) for name in ready)


def run_next(loaded: store.Loaded, run: Callable[[Claim], Outcome], *, worker: str) -> None:
    """Run and settle the next quick task, or as many quick items as one write should bring.

    Nothing where the next one is skipped and another one follows, which is not quick: its claim is to be written first.
    """
    end = time.monotonic() + MAX_SECONDS
    for _ in range(MAX_ITEMS):
        claims = store.advance(loaded, worker=worker, wanted=1, only=_is_quick)
        if not claims:
            return
        name = claims[0].task
        store.settle(loaded, store.EndOfTry(claim=claims[0], outcome=run(claims[0])), worker)
        if "[" not in name or time.monotonic() > end or not is_next(loaded):
            return
        if not loaded.run.task(name).status.ended:  # it is tried again: one write tells of one try of each
            return


def _is_quick(run: Run, name: str) -> bool:
    task = run.definition_of(name)
    fallback = task.fallback if run.task(name).on_fallback else None
    task_type = registry.get(fallback.type if fallback is not None else task.type)
    return task_type is not None and task_type.quick and not run.task(name).lost
