"""The one writer of executions and task runs.

A step is one conditional write: it holds only if nobody changed the execution since it was read (``revision``), and
brings everything that belongs together: the end of a try with what it makes ready, the events, webhook deliveries,
children, and the bell. Whoever finds the execution changed reads it again under a lock.
"""

from __future__ import annotations

from executions.store.accepting import ReadFirst, create, flush
from executions.store.byhand import (
    TAKEN_IN_VAIN,
    cancel,
    cancel_orphans,
    each,
    fail,
    give_files,
    give_up,
    make_due,
    note_progress,
    renew_leases,
    waiting_to_begin,
)
from executions.store.reading import load, seconds_to_next, take
from executions.store.rows import Loaded
from executions.store.saves import Saves
from executions.store.saving import Stale, save, shown_inputs
from executions.store.slots import wake_parked
from executions.store.steps import (
    EndOfTry,
    FilesMissing,
    advance,
    look_after,
    put_back,
    settle,
    step,
    take_back,
)

__all__ = [
    "TAKEN_IN_VAIN",
    "EndOfTry",
    "FilesMissing",
    "Loaded",
    "ReadFirst",
    "Saves",
    "Stale",
    "advance",
    "cancel",
    "cancel_orphans",
    "create",
    "each",
    "fail",
    "flush",
    "give_files",
    "give_up",
    "load",
    "look_after",
    "make_due",
    "note_progress",
    "put_back",
    "renew_leases",
    "save",
    "seconds_to_next",
    "settle",
    "shown_inputs",
    "step",
    "take",
    "take_back",
    "waiting_to_begin",
    "wake_parked",
]
