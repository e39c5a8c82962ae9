"""Checking a draft against the task types: names, references, types, order. Gives the ``Definition``."""

from __future__ import annotations

from collections.abc import Mapping

from dataflow.lib.expressions.tokens import spell
from tasks_lib.base import MISSING, Field, JsonValue, TaskType, ValueType
from workflows.definition.bounds import DraftForEach
from workflows.definition.expressions import Template, compile_bare, compile_template
from workflows.definition.found import Found, find_field, inputs_hint
from workflows.definition.model import Catalogue, Concurrency, Definition, Fallback, ForEach, Output, Rename
from workflows.definition.order import check_order, graph_of
from workflows.definition.problems import Report, at, kind, shown
from workflows.definition.references import (
    CONDITION_ROOTS,
    ITEM_ROOTS,
    KEY_ROOTS,
    OUTPUT_ROOTS,
    TASK_ROOTS,
    Names,
    Place,
)
from workflows.definition.rendering import MAX_ITEMS
from workflows.definition.schema import Draft, DraftOutput, DraftTask, GivenInputs
from workflows.definition.special import check_special
from workflows.definition.values import check_literal, fits, named

_LIST = Field(name="for_each", type="list", description="")


class Checker:
    """One check of one draft. Problems and warnings go to ``report``."""

    def __init__(self, draft: Draft, catalogue: Catalogue, report: Report) -> None:
        self.draft, self.catalogue, self.report = draft, catalogue, report
        self.found = [Found(task, self._task_type(task.type, at(task.pointer, "type"))) for task in draft.tasks]
        self.by_name = {one.draft.name: one for one in self.found if one.draft.name is not None}
        for one in self.found:
            one.renames = self._renames(one)
        self.names = Names(
            report,
            {one.name: one.type for one in draft.inputs},
            {name: one.outputs() for name, one in self.by_name.items()},
            frozenset(one.name for one in draft.outputs if one.name is not None),
        )

    def run(self) -> Definition | None:
        """Check everything; the definition is there when the report has no problems."""
        for one in self.found:
            self._check_task(one)
        graph = graph_of(self.by_name)
        check_order(self.report, self.by_name, graph)
        outputs = self._outputs()
        concurrency = self._concurrency()
        self._warn()
        if self.report.problems:
            return None
        return Definition(
            title=self.draft.title,
            description=self.draft.description,
            inputs=tuple(self.draft.inputs),
            tasks=tuple(one.as_task(graph) for one in self.found),
            outputs=outputs,
            monitoring=self.draft.monitoring,
            timeout=self.draft.timeout,
            labels=self.draft.labels,
            concurrency=concurrency,
        )

    def _task_type(self, name: str | None, pointer: str) -> TaskType | None:
        if name is None:
            return None
        task_type = self.catalogue.get(name)
        if task_type is None:
            hint = self.report.nearest(name, self.catalogue.names()) or "GET /task-types lists them."
            self.report.problem(pointer, "unknown_task_type", f"There is no task type {shown(name)}.", hint)
        elif what := task_type.missing():
            self.report.problem(pointer, "not_installed", what, "Ask whoever runs this installation.")
        return task_type

    # Tasks

    def _check_task(self, one: Found) -> None:
        draft = one.draft
        one.inputs = self._given(draft.inputs, one.type, at(draft.pointer, "inputs"), one)
        if draft.for_each is not None and draft.for_each.value is not MISSING:
            one.for_each = self._for_each(draft.for_each, at(draft.pointer, "for_each"), one)
        if draft.condition is not MISSING:
            one.condition = self._condition(draft.condition, at(draft.pointer, "condition"), one)
        if draft.fallback_type is not None:
            pointer = at(draft.pointer, "fallback")
            one.fallback_type = self._task_type(draft.fallback_type, at(pointer, "task"))
            inputs = self._given(draft.fallback_inputs, one.fallback_type, at(pointer, "inputs"), one)
            if one.fallback_type is not None:
                one.fallback = Fallback(type=one.fallback_type.name, inputs=inputs)
        if draft.depends_on is None:
            before = self.draft.tasks[draft.index - 1].name if draft.index else None
            one.explicit = () if before is None else (before,)
        else:
            one.explicit = self._depends_on(draft)

    def _depends_on(self, draft: DraftTask) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for index, name in enumerate(draft.depends_on or ()):
            if isinstance(name, str) and name in self.by_name and name not in names and name != draft.name:
                names[name] = None
            else:
                self._bad_dependency(name, at(draft.pointer, "depends_on", index), draft)
        return tuple(names)

    def _bad_dependency(self, name: object, pointer: str, draft: DraftTask) -> None:
        if not isinstance(name, str):
            self.report.problem(pointer, "wrong_type", f"An item of `depends_on` is a task name, not {kind(name)}.")
        elif name not in self.by_name:
            hint = self.report.nearest(name, self.names.task_outputs)
            self.report.problem(pointer, "unknown_reference", f"No task has the name {shown(name)}.", hint)
        elif name == draft.name:
            self.report.problem(pointer, "cycle", f"The task {shown(name)} cannot wait for itself.")
        else:
            self.report.problem(pointer, "duplicate_name", f"The task {shown(name)} is listed twice.")

    def _given(self, given: GivenInputs, task_type: TaskType | None, pointer: str, one: Found) -> dict[str, Template]:
        """The templates by current input name; every value is compiled even when the type is not known."""
        inputs: dict[str, Template] = {}
        pointers: dict[str, str] = {}
        roots = TASK_ROOTS if one.draft.for_each is None else ITEM_ROOTS
        for item in given.values:
            wanted = None if task_type is None else find_field(task_type, item.name)
            if task_type is not None and wanted is None:
                known = [name for one_field in task_type.inputs for name in (one_field.name, *one_field.aliases)]
                hint = self.report.nearest(item.name, known) or inputs_hint(task_type)
                detail = f"The task type {shown(task_type.name)} has no input {shown(item.name)}."
                self.report.problem(item.pointer, "unknown_input", detail, hint)
            elif wanted is not None and wanted.name in pointers:
                detail = f"The input {shown(wanted.name)} is given more than once."
                self.report.problem(item.pointer, "duplicate_input", detail)
                wanted = None
            template = self._template(item.value, Place(item.pointer, roots), wanted, one)
            if wanted is None or item.value is None:  # null: as if it were not given
                continue
            pointers[wanted.name] = item.pointer
            if template is not None:
                inputs[wanted.name] = template
        if task_type is None or not given.complete:
            return inputs
        for missing in task_type.inputs:
            if missing.required and missing.default is MISSING and missing.name not in pointers:
                detail = f"The task type {shown(task_type.name)} needs the input {shown(missing.name)}."
                self.report.problem(at(pointer, missing.name), "missing_input", detail, missing.description)
        if len(inputs) == len(pointers):
            check_special(task_type, inputs, pointers, pointer, self.report)
        return inputs

    def _renames(self, one: Found) -> tuple[Rename, ...]:
        if one.type is None:
            return ()
        known = {output.name for output in one.type.outputs}
        renames = []
        for item in one.draft.renames:
            template = compile_template(item.value, at(item.pointer, "value"), self.report)
            if template is None:
                continue
            path = (template.expression.path if template.expression is not None else None) or ()
            if path[:1] != ("outputs",) or len(path) != 2 or not isinstance(path[1], str):
                hint = f"Write {{{{outputs.NAME}}}} with an output of {shown(one.type.name)}."
                self.report.problem(at(item.pointer, "value"), "invalid_rename", "A rename names one output.", hint)
            elif path[1] not in known and not one.type.any_outputs:
                hint = self.report.nearest(path[1], known) or f"It has {', '.join(map(shown, sorted(known)))}."
                detail = f"The task type {shown(one.type.name)} has no output {shown(path[1])}."
                self.report.problem(at(item.pointer, "value"), "unknown_reference", detail, hint)
            elif item.name in known and item.name != path[1]:
                detail = f"The task type already has an output {shown(item.name)}."
                self.report.problem(at(item.pointer, "name"), "duplicate_name", detail)
            else:
                renames.append(Rename(name=item.name, source=path[1]))
        return tuple(renames)

    # Templates

    def _template(
        self, value: JsonValue, place: Place, wanted: Field | None, one: Found | None, value_type: ValueType = "any"
    ) -> Template | None:
        template = compile_template(value, place.pointer, self.report)
        if template is None:
            return None
        if template.is_constant:
            if wanted is not None and value is not None:
                self.report.extend(check_literal(value, wanted, place.pointer, wanted.name))
            return template
        types = self._check_references(template, place, one)
        target = wanted.type if wanted is not None else value_type
        self._check_fit(template, types, target, place.pointer)
        return template

    def _check_references(self, template: Template, place: Place, one: Found | None) -> dict[str, ValueType | None]:
        types: dict[str, ValueType | None] = {}
        for path in sorted(template.references, key=spell):
            types[spell(path)] = self.names.type_of(path, place)
            if one is not None and path[0] == "tasks" and len(path) > 1 and path[1] in self.by_name:
                one.mentioned.setdefault(str(path[1]), place.pointer)
        return types

    def _check_fit(
        self, template: Template, types: Mapping[str, ValueType | None], target: ValueType, pointer: str
    ) -> None:
        if template.expression is not None:
            path = template.expression.path
            source = types[spell(path)] if path is not None else "any"
            if source is not None and not fits(source, target):
                detail = f"{shown(template.literal)} is {named(source)}; {named(target)} is wanted here."
                self.report.problem(pointer, "type_mismatch", detail, _conversion(source, target, template))
            return
        for expression in template.in_text:
            if expression.path is not None and types[spell(expression.path)] == "file":
                detail = f"{expression.spelled} is a file, which has no place in a longer text."
                self.report.problem(
                    pointer, "type_mismatch", detail, "Pass it alone, or use a field of it such as `.name`."
                )
        source = "text" if template.is_text else "list" if isinstance(template.literal, list) else "object"
        if not fits(source, target) and not (source == "object" and target == "file"):
            detail = f"This is {named(source)}; {named(target)} is wanted here."
            self.report.problem(pointer, "type_mismatch", detail)

    def _condition(self, value: JsonValue, pointer: str, one: Found) -> Template | None:
        place = Place(pointer, CONDITION_ROOTS)
        if not isinstance(value, bool | str):
            self.report.problem(pointer, "wrong_type", f"`condition` must be an expression, not {kind(value)}.")
            return None
        if isinstance(value, bool) or "{{" in value:
            text = value if isinstance(value, bool) else value.strip()
            template = compile_template(text, pointer, self.report)
        else:
            template = compile_bare(value, pointer, self.report)
        if template is None or isinstance(value, bool):
            return template
        types = self._check_references(template, place, one)
        if template.expression is None:
            hint = "Write one expression that is true or false, such as `inputs.n > 3`."
            self.report.problem(pointer, "type_mismatch", "`condition` must be one expression, not a text.", hint)
        else:
            self._check_fit(template, types, "boolean", pointer)
        return template

    def _for_each(self, given: DraftForEach, pointer: str, one: Found) -> ForEach | None:
        template = self._template(given.value, Place(pointer, CONDITION_ROOTS), _LIST, one)
        if template is None:
            return None
        if isinstance(given.value, list) and len(given.value) > MAX_ITEMS:
            detail = f"`for_each` runs over at most {MAX_ITEMS:,} items, not {len(given.value):,}."
            self.report.problem(pointer, "too_many", detail, "Split the list over several executions.")
        return ForEach(items=template, concurrency=given.concurrency, on_item_failure=given.on_item_failure)

    def _concurrency(self) -> Concurrency | None:
        given = self.draft.concurrency
        if given is None:
            return None
        key = None if given.key is MISSING else self._concurrency_key(given.key, "/concurrency/key")
        return Concurrency(limit=given.limit, key=key, on_limit=given.on_limit)

    def _concurrency_key(self, text: str, pointer: str) -> Template | None:
        compiled = compile_template if "{{" in text else compile_bare
        template = compiled(text.strip(), pointer, self.report)
        if template is None:
            return None
        types = self._check_references(template, Place(pointer, KEY_ROOTS), None)
        self._check_fit(template, types, "any", pointer)
        if template.expression is not None and "file" in types.values() and template.expression.path is not None:
            hint = "Use a field of it, such as `.file_id`."
            self.report.problem(pointer, "type_mismatch", "A file cannot be a key.", hint)
        return template

    # Outputs and warnings

    def _outputs(self) -> tuple[Output, ...]:
        outputs: list[Output] = []
        before: dict[str, ValueType] = {}
        for draft in self.draft.outputs:
            made = self._output(draft, before)
            if made is not None:
                outputs.append(made)
            if draft.name is not None:
                before[draft.name] = draft.type or "any"
        return tuple(outputs)

    def _output(self, draft: DraftOutput, before: Mapping[str, ValueType]) -> Output | None:
        if draft.value is MISSING:
            return None
        pointer = at(draft.pointer, "value")
        wanted = Field(name=draft.name or "value", type=draft.type or "any", description="", required=True)
        place = Place(pointer, OUTPUT_ROOTS, dict(before))
        template = self._template(draft.value, place, wanted, None)
        if draft.value is None and wanted.type != "any":
            self.report.problem(pointer, "wrong_type", f"The value must be {named(wanted.type)}, not null.")
        if template is None or draft.name is None or draft.type is None:
            return None
        self._warn_unreachable(template, pointer, f"The output {shown(draft.name)}")
        return Output(name=draft.name, type=draft.type, value=template, description=draft.description)

    def _warn(self) -> None:
        for one in self.draft.inputs:
            if one.name not in self.names.used_inputs:
                pointer = self.draft.input_pointers[one.name]
                self.report.warn(pointer, "unused_input", f"Nothing uses the input {shown(one.name)}.")
        for found in self.found:
            for name, template in found.inputs.items():
                self._warn_unreachable(template, at(found.draft.pointer, "inputs"), f"The input {shown(name)}")
            if found.type is not None and found.fallback_type is not None:
                self._warn_fallback(found, found.type, found.fallback_type)

    def _warn_unreachable(self, template: Template, pointer: str, what: str) -> None:
        for path in template.references:
            task = self.by_name.get(str(path[1])) if path[0] == "tasks" and len(path) > 1 else None
            if task is not None and task.condition is not None and task.condition.literal in (False, "false"):
                detail = f"{what} refers to the task {shown(path[1])}, which never runs: its condition is false."
                self.report.warn(pointer, "unreachable_output", detail)

    def _warn_fallback(self, found: Found, task_type: TaskType, fallback: TaskType) -> None:
        if fallback.any_outputs:
            return
        there = {output.name: output.type for output in fallback.outputs}
        lacking = [
            output.name
            for output in task_type.outputs[:1]
            if not fits(there.get(output.name, "any"), output.type) or output.name not in there
        ]
        for name in lacking:
            detail = f"The fallback {shown(fallback.name)} has no fitting output {shown(name)}; it will be null."
            self.report.warn(at(found.draft.pointer, "fallback", "task"), "fallback_output_missing", detail)


def _conversion(source: ValueType, target: ValueType, template: Template) -> str:
    assert template.expression is not None
    if target == "number" and source == "text":
        return f"Convert it: `{{{{double({template.expression.source})}}}}`."
    if target == "text" and source == "boolean":
        return f"Convert it: `{{{{string({template.expression.source})}}}}`."
    return ""
