"""What tasks used of models, summed, and what it cost by a table of prices. Pure.

A usage is what one try noted: ``model`` and any of ``input_tokens`` (with ``cached_tokens`` among them),
``output_tokens``, ``characters``, ``seconds`` and ``images``; ``local`` is true for a model on this machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Units of the table: US dollars for a million tokens or characters, for a minute of sound, or for an image.
UNITS = ("input", "cached_input", "output", "characters", "minute", "image")
#: What may follow the name of a model in the table and be the same model: a snapshot's date, or ``latest``.
_SNAPSHOT = re.compile(r"-(latest|\d{4}(-\d\d-\d\d)?|\d{6,8})")
_MILLION = 1_000_000
#: Digits of a sum that are kept: a short text's embedding costs less than a millionth.
_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What models cost: US dollars by unit, by the model's name; a name that ends in ``*`` stands for all with it."""

    models: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    #: When it was so, and who said it.
    as_of: str = ""
    source: str = ""

    @classmethod
    def parse(cls, document: Any) -> Prices:
        """A table as JSON: ``{"as_of", "source", "models": {NAME: {UNIT: DOLLARS}}}``. Raises ``ValueError``."""
        if problems := list(_problems(document)):
            raise ValueError("; ".join(problems))
        return cls(models=document["models"], as_of=document["as_of"], source=document["source"])

    def of(self, model: str) -> Mapping[str, float] | None:
        """The prices of a model: by its own name, else the longest name in the table that it begins with."""
        fitting = [name for name in self.models if _is_named(model, name)]
        return self.models[max(fitting, key=len)] if fitting else None

    def cost(self, usage: Mapping[str, Any]) -> float | None:
        """What one try cost in US dollars; ``None`` where the table does not say. This machine's own work is free."""
        if usage.get("local") is True:
            return 0.0
        prices = self.of(str(usage["model"])) if "model" in usage else None
        if prices is None:
            return None
        amounts = _amounts(usage)
        priced = [(amounts[unit], price) for unit, price in prices.items() if unit in amounts]
        if not priced:
            return None
        if "cached_input" not in prices and "input" in prices and "cached_input" in amounts:
            priced.append((amounts["cached_input"], prices["input"]))
        return sum(amount * price for amount, price in priced)


def summed(usages: Iterable[Mapping[str, Any]], prices: Prices) -> dict[str, Any]:
    """All amounts together; with ``models`` (the same by model, with its ``cost``) and ``cost`` where a model was used.

    A ``cost`` is ``None`` where any part of it is not known.
    """
    used = [usage for usage in usages if usage]
    total = _added(used)
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for usage in used:
        if "model" in usage:
            by_model.setdefault(str(usage["model"]), []).append(usage)
    if not by_model:
        return total
    models = [
        {"model": model, **_added(rows), "cost": total_cost(rows, prices)} for model, rows in sorted(by_model.items())
    ]
    return total | {"cost": total_cost(used, prices), "models": models}


def total_cost(usages: Iterable[Mapping[str, Any]], prices: Prices) -> float | None:
    """What tries cost together; ``None`` where no model was used, or the price of one is not known."""
    costs = [prices.cost(usage) for usage in usages if "model" in usage]
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), _DIGITS) if costs and len(known) == len(costs) else None


def _added(usages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers of all together; what is no number is left out."""
    total: dict[str, Any] = {}
    for usage in usages:
        for name, amount in usage.items():
            if type(amount) in (int, float):
                total[name] = total.get(name, 0) + amount
    return total


def _amounts(usage: Mapping[str, Any]) -> dict[str, float]:
    """What was used by unit of the table. Cached tokens are among the input tokens."""
    told = {name: float(value) for name, value in usage.items() if type(value) in (int, float)}
    cached = min(told.get("cached_tokens", 0.0), told.get("input_tokens", 0.0))
    amounts = {
        "input": (told.get("input_tokens", 0.0) - cached) / _MILLION if "input_tokens" in told else None,
        "cached_input": cached / _MILLION or None,
        "output": told["output_tokens"] / _MILLION if "output_tokens" in told else None,
        "characters": told["characters"] / _MILLION if "characters" in told else None,
        "minute": told["seconds"] / 60 if "seconds" in told else None,
        "image": told.get("images"),
    }
    return {unit: amount for unit, amount in amounts.items() if amount is not None}


def _is_named(model: str, name: str) -> bool:
    if name.endswith("*"):
        return model.startswith(name[:-1])
    return model.startswith(name) and (model == name or _SNAPSHOT.fullmatch(model, len(name)) is not None)


def _problems(document: Any) -> Iterator[str]:
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict):
        yield 'it must be a JSON object with "as_of", "source" and "models"'
        return
    for name in ("as_of", "source"):
        if not isinstance(document.get(name), str):
            yield f'"{name}" must be a text'
    for model, prices in document["models"].items():
        if not isinstance(prices, dict) or not prices:
            yield f'"models.{model}" must be an object of unit and dollars'
            continue
        for unit, price in prices.items():
            if unit not in UNITS:
                yield f'"models.{model}" has the unit "{unit}"; there are {", ".join(UNITS)}'
            elif type(price) not in (int, float) or not math.isfinite(price) or price < 0:
                yield f'"models.{model}.{unit}" must be a number of dollars'
