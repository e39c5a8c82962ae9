"""The reference of task types as Markdown, made from the types alone: an index, and a page for each category."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks_lib import registry
from tasks_lib.base import TaskType

#: How to make the files in ``docs/task-types`` anew.
COMMAND = "DEBUG=1 python manage.py write_reference"
INDEX = "README.md"
_SENTENCE = re.compile(r"(?:[^`]|`[^`]*`)*?\.(?=\s|$)")
_INTRODUCTION = f"""# Task types

What a task of a workflow can do. Made by `{COMMAND}` from the classes in
`tasks_lib/types/`: change those, not this. A running installation shows its own, with forms to try them, at
`/task-types`, and as JSON (with JSON Schema of inputs and outputs) at `GET /task-types` and `GET /task-types/{{type}}`.
[How to write one](../writing-task-types.md).

Examples are complete inputs that run. `fl-sample…` are small files that every installation has (speech, a video, a
picture, a PDF, a DOCX, a CSV, a ZIP), `wf-sample…` is an example workflow; `main` is the name of a connection that you
set up; `https://example.com` is for an address of your own.
"""


def reference(types: Iterable[TaskType]) -> dict[str, str]:
    """The text of every file of the reference, by file name."""
    groups = grouped(types)
    pages = {page_name(category): _page(category, members) for category, members in groups.items()}
    return {INDEX: _index(groups), **pages}


def grouped(types: Iterable[TaskType]) -> dict[str, list[TaskType]]:
    """The types by category; both in alphabetical order."""
    groups: dict[str, list[TaskType]] = {}
    for task_type in sorted(types, key=lambda one: (one.category.lower(), one.name)):
        groups.setdefault(task_type.category, []).append(task_type)
    return groups


def page_name(category: str) -> str:
    """The file of a category."""
    return f"{''.join(letter if letter.isalnum() else '-' for letter in category.lower())}.md"


def limits(field: Mapping[str, Any]) -> str:
    """What a value of an input must keep to besides its type, in words; empty where there is nothing."""
    said = []
    if field.get("enum"):
        said.append(f"one of {', '.join(_code(value) for value in field['enum'])}")
    said.append(_range(field.get("minimum"), field.get("maximum"), ""))
    said.append(_range(field.get("min_length"), field.get("max_length"), "character"))
    return "; ".join(filter(None, said))


def first_sentence(text: str) -> str:
    """The first sentence of a description: up to a full stop that is not within backticks."""
    found = _SENTENCE.match(text)
    return found[0] if found else text


def example_task(task_type: TaskType) -> dict[str, Any]:
    """The example as a task of a definition."""
    name = task_type.name.rpartition(".")[2]
    return {"name": name, "type": task_type.name, "inputs": dict(task_type.example)}


def _range(least: float | None, most: float | None, unit: str) -> str:
    if least is not None and most is not None:
        return f"exactly {_amount(most, unit)}" if least == most else f"{_number(least)} to {_amount(most, unit)}"
    if least is not None:
        return f"at least {_amount(least, unit)}"
    return "" if most is None else f"at most {_amount(most, unit)}"


def _amount(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}{'' if value == 1 else 's'}" if unit else _number(value)


def _number(value: float) -> str:
    return f"{value:,}".removesuffix(".0")


def _code(value: Any) -> str:
    return f"`{value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}`"


def _index(groups: Mapping[str, Sequence[TaskType]]) -> str:
    lines = [_INTRODUCTION]
    for category, members in groups.items():
        page = page_name(category)
        lines += [f"## [{_capital(category)}]({page})", "", "| type | what it does |", "|---|---|"]
        lines += [
            f"| [`{one.name}`]({page}#{_anchor(one.name)}) | {_cell(first_sentence(one.description))} |"
            for one in members
        ]
        lines.append("")
    return "\n".join(lines)


def _page(category: str, members: Sequence[TaskType]) -> str:
    lines = [f"# {_capital(category)}", "", f"[All task types]({INDEX}). Made by `{COMMAND}`: change the classes.", ""]
    for task_type in members:
        lines += _section(task_type)
    return "\n".join(lines)


def _section(task_type: TaskType) -> list[str]:
    said = registry.specification(task_type)
    task = json.dumps(example_task(task_type), ensure_ascii=False, indent=2)
    return [
        f"## {task_type.name}",
        "",
        f"**{said['title']}.** {said['description']}",
        "",
        *_inputs(said["inputs"]),
        *_outputs(said),
        "As a task:",
        "",
        "```json",
        *task.splitlines(),
        "```",
        "",
        *(f"- {fact}" for fact in facts(task_type)),
        "",
    ]


def facts(task_type: TaskType) -> list[str]:
    """What else there is to know of a type, a sentence each, with Markdown's backticks."""
    said = [f"Time limit of one try: {task_type.timeout:g} s unless the task says otherwise."]
    if task_type.retried:
        said.append(f"Another try may help after {', '.join(_code(code) for code in task_type.retried)}.")
    if not task_type.idempotent:
        said.append("Not tried again after its worker died, unless its retry policy says so: twice may do harm.")
    if task_type.secrets:
        said.append(f"Needs {', '.join(_code(name) for name in task_type.secrets)}.")
    if task_type.extra:
        said.append(f"Optional: `pip install -r requirements-{task_type.extra}.txt` brings what it needs.")
    if task_type.aliases:
        said.append(f"Older spellings: {', '.join(_code(name) for name in task_type.aliases)}.")
    return said


def _inputs(fields: Sequence[Mapping[str, Any]]) -> list[str]:
    if not fields:
        return ["It takes no inputs.", ""]
    lines = ["| input | type | default | what it is |", "|---|---|---|---|"]
    for field in fields:
        default = "**required**" if field["required"] else _default(field)
        unless = f"no default where `{field['unless']}` is given" if field.get("unless") else ""
        notes = [field["description"].rstrip("."), limits(field), _other_names(field), unless]
        name = _code(field["name"])
        lines.append(
            f"| {name} | {field['type']} | {default} | {_cell('. '.join(_capital(note) for note in notes if note))} |"
        )
    return [*lines, ""]


def _outputs(said: Mapping[str, Any]) -> list[str]:
    rest = ["It gives more outputs than are named here: those of what it runs.", ""] if said["any_outputs"] else []
    if not said["outputs"]:
        return rest
    lines = ["| output | type | what it is |", "|---|---|---|"]
    for field in said["outputs"]:
        mark = " (main)" if field["name"] == said["default_output"] else ""
        lines.append(f"| {_code(field['name'])}{mark} | {field['type']} | {_cell(field['description'].rstrip('.'))} |")
    return [*lines, "", *rest]


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    return "" if default is None else _cell(_code(json.dumps(default, ensure_ascii=False)))


def _other_names(field: Mapping[str, Any]) -> str:
    return f"also {', '.join(_code(name) for name in field['aliases'])}" if field.get("aliases") else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _anchor(name: str) -> str:
    """As GitHub makes it of a heading: letters, digits, hyphens and underscores stay."""
    return "".join(letter for letter in name.lower() if letter.isalnum() or letter in "-_")


def _cell(text: str) -> str:
    """Text in a table."""
    return " ".join(text.split()).replace("|", "\\|")
