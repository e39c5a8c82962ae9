"""What models cost, summed; and the table that comes with the platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from executions.prices import current, read
from executions.usage import Prices, summed, total_cost
from executions.usage_table import dollars, shown_usage

PRICES = Prices(
    models={
        "small": {"input": 1.0, "cached_input": 0.5, "output": 4.0},
        "small-fast": {"input": 2.0, "output": 8.0},
        "voice": {"characters": 15.0},
        "ears": {"minute": 0.006},
        "eyes": {"image": 0.04},
        "llama*": {"input": 0, "output": 0},
    },
    as_of="2026-11-23",
    source="a test",
)
TABLE = Path(__file__).parents[3] / "dataflow" / "prices.json"


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"model": "small", "input_tokens": 1_000_000, "output_tokens": 500_000}, 3.0),
        ({"model": "small", "input_tokens": 1_000_000, "cached_tokens": 400_000}, 0.8),
        ({"model": "small", "input_tokens": 100, "cached_tokens": 400}, 0.00005),
        ({"model": "small-fast", "input_tokens": 1_000_000, "cached_tokens": 400_000}, 2.0),
        ({"model": "small-2026-01-02", "input_tokens": 1_000_000}, 1.0),
        ({"model": "small-latest", "input_tokens": 1_000_000}, 1.0),
        ({"model": "small-0613", "input_tokens": 1_000_000}, 1.0),
        ({"model": "small-fast-2026-01-02", "input_tokens": 1_000_000}, 2.0),
        ({"model": "llama-3.3:70b", "input_tokens": 1_000_000}, 0.0),
        ({"model": "voice", "characters": 2000}, 0.03),
        ({"model": "ears", "seconds": 90, "input_tokens": 10}, 0.009),
        ({"model": "eyes", "images": 2}, 0.08),
        ({"model": "voice", "characters": 2000, "local": True}, 0.0),
        ({"model": "unheard-of", "seconds": 3, "local": True}, 0.0),
        ({"model": "small-audio", "input_tokens": 1_000_000}, None),
        ({"model": "smaller", "input_tokens": 1}, None),
        ({"model": "ft:small", "input_tokens": 1}, None),
        ({"model": "small", "images": 1}, None),
        ({"model": "small"}, None),
        ({"model": None, "input_tokens": 1}, None),
        ({"input_tokens": 1}, None),
    ],
)
def test_cost(usage: dict[str, Any], cost: float | None) -> None:
    assert PRICES.cost(usage) == (None if cost is None else pytest.approx(cost))


def test_sums() -> None:
    tries = [
        {"model": "small", "input_tokens": 1_000_000, "output_tokens": 0},
        {},
        {"model": "voice", "characters": 1_000_000},
        {"model": "small", "input_tokens": 500_000, "output_tokens": 250_000, "note": "text", "flag": True},
        {"bytes": 7},
    ]
    assert summed(tries, PRICES) == {
        "input_tokens": 1_500_000, "output_tokens": 250_000, "characters": 1_000_000, "bytes": 7,
        "cost": 17.5,
        "models": [
            {"model": "small", "input_tokens": 1_500_000, "output_tokens": 250_000, "cost": 2.5},
            {"model": "voice", "characters": 1_000_000, "cost": 15.0},
        ],
    }  # fmt: skip


def test_a_price_that_is_not_known_makes_the_whole_unknown() -> None:
    told = summed([{"model": "small", "input_tokens": 10}, {"model": "new", "input_tokens": 10}], PRICES)
    assert told["cost"] is None
    assert [(row["model"], row["cost"]) for row in told["models"]] == [("new", None), ("small", 0.00001)]


def test_without_models_there_is_no_cost() -> None:
    assert summed([{"seconds": 2}, {"seconds": 3}], PRICES) == {"seconds": 5}
    assert summed([], PRICES) == {}
    assert total_cost([{"seconds": 2}], PRICES) is None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "JSON object"),
        ({"models": {}}, "as_of"),
        ({"as_of": "", "source": 1, "models": {}}, "source"),
        ({"as_of": "", "source": "", "models": {"a": {}}}, "models.a"),
        ({"as_of": "", "source": "", "models": {"a": {"hour": 1}}}, "hour"),
        ({"as_of": "", "source": "", "models": {"a": {"input": -1}}}, "models.a.input"),
        ({"as_of": "", "source": "", "models": {"a": {"input": True}}}, "models.a.input"),
    ],
)
def test_tables_that_are_refused(document: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Prices.parse(document)


def test_the_table_that_comes_along() -> None:
    prices = read(str(TABLE))
    assert prices.as_of
    assert prices.source.startswith("https://")
    assert prices.cost({"model": "gpt-4o-mini-2024-07-18", "input_tokens": 1_000_000}) == pytest.approx(0.15)
    assert prices.of("gpt-5-chat-latest") == prices.models["gpt-5-chat"]


@pytest.mark.parametrize(("content", "said"), [("{", "not JSON"), ("[]", "JSON object"), (None, "cannot be read")])
def test_a_bad_table_is_refused_at_the_start(tmp_path: Path, settings: Any, content: str | None, said: str) -> None:
    path = tmp_path / "prices.json"
    if content is not None:
        path.write_text(content)
    settings.DATAFLOW_PRICES = str(path)
    found = [check for check in run_checks() if check.id == "dataflow.E006"]
    assert len(found) == 1
    assert said in found[0].msg
    assert current().cost({"model": "gpt-4o-mini", "input_tokens": 1}) is None, "pages go on without costs"


def test_a_table_of_ones_own(tmp_path: Path, settings: Any) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"as_of": "today", "source": "us", "models": {"house": {"input": 3}}}))
    settings.DATAFLOW_PRICES = str(path)
    assert [check for check in run_checks() if check.id == "dataflow.E006"] == []
    assert read(str(path)).cost({"model": "house", "input_tokens": 2_000_000}) == pytest.approx(6)


@pytest.mark.parametrize(
    ("cost", "shown"),
    [(0, "$0.00"), (0.00001, "under $0.0001"), (0.0042, "$0.0042"), (1.25, "$1.25"), (1234.5, "$1,234.50"), (None, "")],
)
def test_dollars(cost: float | None, shown: str) -> None:
    assert dollars(cost) == shown


def test_the_table_of_a_page() -> None:
    usage = summed([{"model": "small", "input_tokens": 1500}, {"model": "new", "seconds": 2.25}], PRICES)
    shown = shown_usage(usage, "2026-11-23")
    assert [column["title"] for column in shown["columns"]] == ["Input tokens", "Seconds"]
    assert [[amount["value"] for amount in row["amounts"]] for row in shown["rows"]] == [["", "2.2"], ["1,500", ""]]
    assert [row["cost"] for row in shown["rows"]] == ["not known", "$0.0015"]
    assert shown["cost"] == ""
    assert shown_usage({}, "x")["models"] == 0
