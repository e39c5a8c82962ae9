"""Imports go downwards only. Reads the source of every module, so it needs none of them to be importable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).resolve().parent.parent

#: From the top down, by the longest prefix that fits a module. What stands above may import what stands below.
LAYERS = [
    ("dataflow", 0),
    ("executions", 1),
    ("executions.engine", 2),
    ("workflows", 3),
    ("workflows.definition", 4),
    ("tasks_lib", 5),
    ("dataflow.api", 6),
    ("dataflow.lib", 7),
]
#: No Django, no models: they can be tested and understood without a database.
PURE = ("executions.engine", "workflows.definition", "tasks_lib")
#: Libraries that are used in one place only, and that place.
CONFINED = {
    "requests": ("dataflow.lib.egress",),
    "openai": ("tasks_lib.clients",),
    "subprocess": ("tasks_lib.clients", "dataflow.supervisor", "dataflow.doctor", "dataflow.management"),
    "django_q": ("executions.queue", "executions.queue_admin"),
}
#: Libraries of which one single module may know.
ONE_MODULE = ("openai", "requests")


def modules() -> Iterator[tuple[str, Path]]:
    """Name and file of every module of the platform; migrations are Django's."""
    for package in ("dataflow", "executions", "workflows", "tasks_lib"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "migrations" not in parts:
                yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports, wherever in it: ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer(name: str) -> int | None:
    fitting = [(len(package), level) for package, level in LAYERS if is_within(name, package)]
    return max(fitting)[1] if fitting else None


MODULES = dict(modules())


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module: str) -> None:
    own = layer(module)
    assert own is not None
    upwards = [name for name in imports(MODULES[module]) if (other := layer(name)) is not None and other < own]
    assert not upwards, f"{module} must not know {upwards}"


@pytest.mark.parametrize("module", [name for name in MODULES if any(is_within(name, package) for package in PURE)])
def test_pure_modules_know_no_django(module: str) -> None:
    frameworks = [name for name in imports(MODULES[module]) if name.split(".")[0] in {"django", "rest_framework"}]
    assert not frameworks


@pytest.mark.parametrize("library", CONFINED)
def test_a_library_stays_in_its_place(library: str) -> None:
    users = [name for name, path in MODULES.items() if any(is_within(found, library) for found in imports(path))]
    elsewhere = [name for name in users if not any(is_within(name, place) for place in CONFINED[library])]
    assert users, f"nobody uses {library}: is the rule out of date?"
    assert not elsewhere
    if library in ONE_MODULE:
        assert len(users) == 1, users


def test_the_layer_of_a_module_is_that_of_its_innermost_package() -> None:
    names = ("dataflow.settings", "dataflow.lib.ids", "executions.engine.planner", "json")
    assert [layer(name) for name in names] == [0, 7, 2, None]
