"""What each task waits for, and what is wrong with that: cycles, and references to what comes later."""

from __future__ import annotations

from collections.abc import Mapping

from workflows.definition.found import Found
from workflows.definition.graph import ancestors, cycles
from workflows.definition.problems import Report, at, shown


def graph_of(by_name: Mapping[str, Found]) -> dict[str, tuple[str, ...]]:
    """What each task waits for: what it says, then what it refers to, in the order of the document."""
    graph = {}
    for name, one in by_name.items():
        mentioned = sorted(one.mentioned, key=lambda other: by_name[other].draft.index)
        graph[name] = tuple(dict.fromkeys([*one.explicit, *(other for other in mentioned if other != name)]))
    return graph


def check_order(report: Report, by_name: Mapping[str, Found], graph: Mapping[str, tuple[str, ...]]) -> None:
    """Report cycles, and references that go forward without ``depends_on``."""
    waits: dict[str, list[str]] = {}
    for name, one in by_name.items():
        explicit = frozenset(one.explicit)
        waits[name] = [other for other in graph[name] if other in explicit or one.comes_after(by_name[other])]
    for cycle in cycles(waits):
        first = by_name[cycle[0]].draft
        detail = f"These tasks wait for each other: {' → '.join(map(shown, [*cycle[:10], cycle[0]]))}."
        hint = "A task without `depends_on` waits for the one before it; give it `[]` to wait for nothing."
        given = first.depends_on is not None
        report.problem(at(first.pointer, "depends_on") if given else first.pointer, "cycle", detail, hint)
    _check_forward_references(report, by_name, waits)


def _check_forward_references(report: Report, by_name: Mapping[str, Found], waits: Mapping[str, list[str]]) -> None:
    """A task may refer to one that comes after it only when it waits for it by ``depends_on``."""
    position = {name: index for index, name in enumerate(waits)}
    above: Mapping[str, int] | None = None
    for name, one in by_name.items():
        for other, pointer in one.mentioned.items():
            if one.comes_after(by_name[other]):
                continue
            above = ancestors(waits) if above is None else above  # costly, and seldom needed
            if other == name:
                report.problem(pointer, "cycle", f"The task {shown(name)} cannot refer to itself.")
            elif not above.get(name, -1) >> position[other] & 1:
                detail = f"The task {shown(other)} comes after {shown(name)}, which refers to it."
                hint = f"Move it before {shown(name)}; or let {shown(name)} wait for it by `depends_on`, and give it "
                hint += "`depends_on` of its own (`[]`: it waits for nothing), so that it does not wait in turn."
                report.problem(pointer, "reference_order", detail, hint)
