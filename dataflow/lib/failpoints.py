"""Named places in our code where a test kills, stops, delays or fails the process that passes them.

Nothing happens unless ``DEBUG`` is on and one of these is set when the process starts:

- ``DATAFLOW_FAILPOINTS``: ``name=action`` by comma. Actions: ``kill`` (SIGKILL of this process), ``stop`` (SIGSTOP),
  ``sleep:SECONDS``, ``raise`` (Django's ``OperationalError``) and ``raise:module.Error``; ``kill@3`` acts at the third
  pass of this process. Each acts once a process.
- ``DATAFLOW_FAILPOINTS_FILE``: the path of a file that holds the same, looked for at every pass. Whoever acts takes the
  file away first (by renaming it to ``NAME.taken``), so that of several processes exactly one acts, once.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NAMES = "DATAFLOW_FAILPOINTS"
FILE = "DATAFLOW_FAILPOINTS_FILE"
_ON = frozenset({"1", "true", "yes", "on"})
_ERROR = "django.db.utils.OperationalError"
_ACTIONS = frozenset({"kill", "stop", "sleep", "raise"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What happens at a fail-point: ``kind`` with its ``argument``, at pass number ``at`` (from 1)."""

    kind: str
    argument: str = ""
    at: int = 1

    def run(self) -> None:
        """Do it; ``kill`` does not return."""
        match self.kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "sleep":
                time.sleep(float(self.argument))
            case _:
                module, _, name = (self.argument or _ERROR).rpartition(".")
                raise getattr(importlib.import_module(module), name)("as the fail-point says")


def read(text: str) -> dict[str, Action]:
    """``"a=kill@3,b=sleep:5"`` by name. Raises ``ValueError`` that names the part which is not understood."""
    return dict(_read_one(part.strip()) for part in text.split(",") if part.strip())


def _read_one(part: str) -> tuple[str, Action]:
    name, _, action = part.partition("=")
    action, _, at = action.partition("@")
    kind, _, argument = action.partition(":")
    understood = bool(name) and kind in _ACTIONS and (at or "1").isdigit()
    if not understood or (kind == "sleep" and not _is_number(argument)):
        raise ValueError(f"The fail-point {part!r} is not like name=kill, name=stop@3, name=sleep:5 or name=raise.")
    return name, Action(kind=kind, argument=argument, at=int(at or 1))


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


class FailPoints:
    """The armed fail-points of a process: ``actions`` by name, and those that ``file`` names while it is there."""

    def __init__(self, actions: Mapping[str, Action], file: Path | None = None) -> None:
        self._actions = dict(actions)
        self._file = file
        self._passes: Counter[tuple[str, Action]] = Counter()
        self._lock = threading.Lock()

    def passed(self, name: str) -> None:
        """A thread is at ``name``: act, if it is time."""
        if (action := self._due(name)) is not None:
            action.run()

    def _due(self, name: str) -> Action | None:
        with self._lock:
            if self._counted(name, self._actions.get(name)) is not None:
                return self._actions.pop(name)
            action = self._counted(name, self._in_file().get(name))
            return action if action is not None and self._take_file() else None

    def _counted(self, name: str, action: Action | None) -> Action | None:
        if action is None:
            return None
        self._passes[name, action] += 1
        return action if self._passes[name, action] >= action.at else None

    def _in_file(self) -> dict[str, Action]:
        try:
            return {} if self._file is None else read(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def _take_file(self) -> bool:
        assert self._file is not None
        try:
            self._file.rename(self._file.with_name(f"{self._file.name}.taken"))
        except FileNotFoundError:  # another process was first
            return False
        self._passes.clear()
        return True


def armed(environment: Mapping[str, str]) -> FailPoints | None:
    """The fail-points that ``environment`` asks for; ``None`` in production, and where it asks for none."""
    names, file = environment.get(NAMES, ""), environment.get(FILE, "")
    if not (names or file) or not _is_debug(environment):
        return None
    return FailPoints(read(names), Path(file) if file else None)


def shortened(seconds: float, name: str, environment: Mapping[str, str] = os.environ) -> float:
    """``seconds``, or in a test installation (``DEBUG``) the shorter time that the variable ``name`` gives.

    So that a test need not wait out a real lease; production knows no such variable.
    """
    value = environment.get(name, "")
    return float(value) if value and _is_debug(environment) else seconds


def _is_debug(environment: Mapping[str, str]) -> bool:
    return environment.get("DEBUG", "").strip().lower() in _ON


_armed = armed(os.environ)


def failpoint(name: str) -> None:
    """Mark a place by name. Costs one comparison where nothing is armed."""
    if _armed is not None:
        _armed.passed(name)
