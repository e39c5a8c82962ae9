"""Order, stages and cycles of a dependency graph."""

from __future__ import annotations

from workflows.definition.graph import ancestors, cycles, in_order, stages

DIAMOND = {"d": ("b", "c"), "a": (), "b": ("a",), "c": ("a",), "e": ("unknown",)}


def test_order_follows_dependencies_then_the_document() -> None:
    assert in_order(DIAMOND) == ["a", "b", "c", "d", "e"]
    assert in_order({"b": (), "a": ()}) == ["b", "a"]


def test_stages() -> None:
    assert stages(DIAMOND) == [["a", "e"], ["b", "c"], ["d"]]


def test_a_graph_without_cycles_has_none() -> None:
    assert cycles(DIAMOND) == []


def test_cycles_are_found_once_and_what_is_behind_them_is_not_one() -> None:
    graph = {"a": ("b",), "b": ("a",), "behind": ("a",), "x": ("x",), "free": (), "late": ("free", "behind")}
    assert cycles(graph) == [["a", "b"], ["x"]]
    assert in_order(graph) == ["free"]


def test_a_dependency_named_twice_counts_once() -> None:
    assert in_order({"a": (), "b": ("a", "a")}) == ["a", "b"]


def test_a_long_chain_needs_no_recursion() -> None:
    chain = {f"t{n}": (f"t{n - 1}",) if n else () for n in range(5000)}
    assert in_order(chain) == list(chain)
    assert len(stages(chain)) == 5000
    assert cycles(chain | {"t0": ("t4999",)})[0][:2] == ["t0", "t4999"]


def test_ancestors_are_all_that_is_above() -> None:
    above = ancestors(DIAMOND)
    names = list(DIAMOND)
    assert {names[n] for n in range(5) if above["d"] >> n & 1} == {"a", "b", "c"}
    assert above["a"] == 0
