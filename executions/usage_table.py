"""What an execution used of models, as its page shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: In this order; a column that nothing is in is left out.
_COLUMNS = {
    "input_tokens": "Input tokens",
    "cached_tokens": "Cached",
    "output_tokens": "Output tokens",
    "characters": "Characters",
    "seconds": "Seconds",
    "images": "Images",
}
UNKNOWN = "not known"


def shown_usage(usage: Mapping[str, Any], as_of: str) -> dict[str, Any]:
    """The table of ``usage`` (of ``describe_execution``), one row a model; ``as_of`` is the date of the prices."""
    models = usage.get("models") or []
    columns = [name for name in _COLUMNS if any(name in row for row in models)]
    rows = [
        {
            "model": row["model"],
            "amounts": [{"label": _COLUMNS[name].lower(), "value": _number(row.get(name))} for name in columns],
            "cost": dollars(row["cost"]) or UNKNOWN,
        }
        for row in models
    ]
    return {
        "models": len(rows),
        "columns": [{"title": _COLUMNS[name]} for name in columns],
        "rows": rows,
        "cost": dollars(usage.get("cost")),
        "as_of": as_of,
    }


def dollars(cost: Any) -> str:
    """US dollars with as many digits as say something: ``$1.25``, ``$0.0042``, ``under $0.0001``. Empty for unknown.

    A number may be masked like any other value.
    """
    if type(cost) not in (int, float):
        return ""
    if 0 < cost < 0.0001:
        return "under $0.0001"
    return f"${cost:,.2f}" if cost >= 1 or cost == 0 else f"${cost:.4f}"


def _number(amount: Any) -> str:
    return f"{round(amount, 1):,}" if type(amount) in (int, float) else ""
