"""The canonical text of a definition and its hash."""

from __future__ import annotations

import hashlib

import pytest

from workflows.definition import canonical_json, definition_hash


def test_keys_are_sorted_and_there_is_no_space() -> None:
    assert canonical_json({"b": [1, {"d": None, "c": "é"}], "a": True}) == '{"a":true,"b":[1,{"c":"é","d":null}]}'


def test_the_hash_is_of_the_utf_8_text() -> None:
    assert definition_hash({"a": "é"}) == hashlib.sha256('{"a":"é"}'.encode()).hexdigest()


def test_the_order_of_keys_does_not_matter_the_order_of_lists_does() -> None:
    assert definition_hash({"a": 1, "b": 2}) == definition_hash({"b": 2, "a": 1})
    assert definition_hash([1, 2]) != definition_hash([2, 1])


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0, False), (None, "null"), ("1", 1), ({}, [])])
def test_what_differs_has_another_hash(one: object, other: object) -> None:
    assert definition_hash({"a": one}) != definition_hash({"a": other})


def test_a_lone_surrogate_has_a_hash() -> None:
    assert len(definition_hash("\ud800")) == 64


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_json_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)
