"""Templates: plain paths, CEL, text around them, bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from dataflow.lib.expressions.evaluate import MAX_READ
from workflows.definition import ExpressionError, Template
from workflows.definition.expressions import MAX_RENDERED, compile_template
from workflows.definition.problems import Report

FILE = {
    "file_id": "fl-a1",
    "name": "a.mp3",
    "content_type": "audio/mpeg",
    "size": 3,
    "sha256": "0",
    "url": "/files/fl-a1",
}
SCOPE: dict[str, Any] = {
    "inputs": {
        "s": "héllo",
        "n": 2,
        "f": 2.5,
        "big": 2**70,
        "t": True,
        "none": None,
        "l": [1, [2, 3], {"k": "v"}],
        "o": {"a": 1, "b-c": "odd", "map": 7, "none": None, "": "empty"},
        "file": FILE,
        "template": "{{inputs.n}}",
    },
    "tasks": {
        "done": {"status": "COMPLETED", "outputs": {"text": "out", "size": 3, "none": None}},
        "skipped": {"status": "SKIPPED", "outputs": None},
    },
    "outputs": {"first": "one"},
    "execution": {"id": "we-1", "started_at": "2026-11-23T08:00:00Z"},
    "workflow": {"id": "wf-1"},
    "secrets": {"KEY": "hush"},
}


def compiled(value: Any) -> Template:
    report = Report()
    template = compile_template(value, "", report)
    assert template is not None, report.problems
    return template


def render(value: Any, scope: Mapping[str, Any] = SCOPE) -> Any:
    return compiled(value).render(scope)


def refused(value: Any) -> str:
    report = Report()
    assert compile_template(value, "", report) is None
    return report.problems[0].code


def failure(value: Any, scope: Mapping[str, Any] = SCOPE) -> ExpressionError:
    with pytest.raises(ExpressionError) as error:
        render(value, scope)
    return error.value


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain", "plain"),
        ("a } b }} c { d", "a } b }} c { d"),
        ("{{inputs.s}}", "héllo"),
        ("{{ inputs.n }}", 2),
        ("{{inputs.f}}", 2.5),
        ("{{inputs.big}}", 2**70),
        ("{{inputs.t}}", True),
        ("{{inputs.none}}", None),
        ("{{inputs.l}}", [1, [2, 3], {"k": "v"}]),
        ("{{inputs.l[1][0]}}", 2),
        ("{{inputs.l[2].k}}", "v"),
        ('{{inputs.o["b-c"]}}', "odd"),
        ("{{inputs.o['b-c']}}", "odd"),
        ('{{inputs.o[""]}}', "empty"),
        ("{{inputs.o.map}}", 7),
        ("{{inputs.file}}", FILE),
        ("{{inputs.file.name}}", "a.mp3"),
        ("{{tasks.done.status}}", "COMPLETED"),
        ("{{tasks.done.outputs}}", {"text": "out", "size": 3, "none": None}),
        ("{{tasks.skipped.outputs.text}}", None),
        ("{{tasks.skipped.outputs}}", None),
        ("{{outputs.first}}", "one"),
        ("{{execution.id}}{{workflow.id}}", "we-1wf-1"),
        ("{{secrets.KEY}}", "hush"),
        ("a {{inputs.s}} b", "a héllo b"),
        ("{{inputs.n}}{{inputs.f}}", "22.5"),
        ("={{inputs.big}}", f"={2**70}"),
        ("={{inputs.t}}", "=true"),
        ("={{inputs.l}}", '=[1,[2,3],{"k":"v"}]'),
        ("={{inputs.o}}", '={"a":1,"b-c":"odd","map":7,"none":null,"":"empty"}'),
        ('{{"{{"}}', "{{"),
        ('{{"{{"}}inputs.n}}', "{{inputs.n}}"),
        ('{{"}}"}}', "}}"),
        ("{{'{{'}} {{'}}'}}", "{{ }}"),
        ("{{inputs.template}}", "{{inputs.n}}"),
        ("x{{inputs.template}}", "x{{inputs.n}}"),
        ('{{{"a": {"b": 1}}}}', {"a": {"b": 1}}),
        ('{{ {"a": {"b": inputs.n}} }}', {"a": {"b": 2}}),
        ("{{ {'a': 1}.a }}", 1),
        ({"a": ["{{inputs.n}}", {"b": "{{inputs.s}}!"}], "{{inputs.n}}": 1}, {"a": [2, {"b": "héllo!"}], "{{inputs.n}}": 1}),
        (5, 5),
        (None, None),
        ([], []),
    ],
)  # fmt: skip
def test_what_a_template_gives(template: Any, value: Any) -> None:
    rendered = render(template)
    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("inputs.n + 1", 3),
        ("inputs.f + 1.0", 3.5),
        ("double(inputs.n) + inputs.f", 4.5),
        ("inputs.f > 2", True),
        ("inputs.n == 2.0", True),
        ("size(inputs.s)", 5),
        ("inputs.s.size()", 5),
        ("inputs.o.size()", 5),
        ("size('😀')", 1),
        ('size(inputs.l) > 3 ? "many" : "few"', "few"),
        ("inputs.l[inputs.n - 1]", [2, 3]),
        ("inputs.l[inputs.n].k", "v"),
        ("inputs['s']", "héllo"),
        ("'a' in inputs.o", True),
        ("inputs.n in [1, 2]", True),
        ("inputs.s.startsWith('h') && !inputs.s.contains('x')", True),
        ("inputs.s.matches('^h.l+o$')", True),
        ("inputs.s.matches('^x')", False),
        ("string(inputs.n) + string(inputs.t)", "2true"),
        ("int('12') + 1", 13),
        ("bool('true')", True),
        ("inputs.none == null", True),
        ("has(inputs.s)", True),
        ("has(inputs.nope)", False),
        ("has(inputs.nope.deeper)", False),
        ("has(inputs.none)", False),
        ("has(inputs.o.a) && has(inputs.o['b-c'])", True),
        ("has(tasks.done.outputs.text)", True),
        ("has(tasks.skipped.outputs.text)", False),
        ("has(inputs.nope) ? inputs.nope : 'none'", "none"),
        ("inputs.t || inputs.nope == 1", True),
        ("tasks.done.outputs.text + '!'", "out!"),
        ("tasks.skipped.outputs.text == null", True),
        ("tasks.done.outputs", {"text": "out", "size": 3, "none": None}),
        ("inputs.o.map + 1", 8),
        ("'.map(x, x)'", ".map(x, x)"),
        ("'''a\nb''' + r'\\d'", "a\nb\\d"),
        ("timestamp('2024-01-01T00:00:00Z') + duration('1h')", "2024-01-01T01:00:00Z"),
        ("duration('90s')", "90s"),
        ("timestamp(execution.started_at).getFullYear()", 2026),
        ("[1, 'a', null, true, 1.5]", [1, "a", None, True, 1.5]),
        ("{'a': inputs.l}", {"a": [1, [2, 3], {"k": "v"}]}),
        ("inputs\n.n // two\n + 1", 3),
        ("-inputs.n", -2),
        ("7 / 2", 3),
    ],
)
def test_the_language(expression: str, value: Any) -> None:
    rendered = render("{{" + expression + "}}")
    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("inputs.l.map(x, x)", "expression_macro"),
        ("inputs.l . filter ( x, true )", "expression_macro"),
        ("inputs.l.all(x, true)", "expression_macro"),
        ("inputs.l.exists(inputs, true)", "expression_macro"),
        ("[1].exists_one(x, true)", "expression_macro"),
        ("inputs.l // \n .map(x, x)", "expression_macro"),
        ("nope(1)", "unknown_function"),
        ("inputs.s.nope()", "unknown_function"),
        ("cel.bind(x, 1, x)", "unknown_function"),
        ("size(1) +", "expression_syntax"),
        ("size(inputs.l", "expression_syntax"),
        ("inputs.l)", "expression_syntax"),
        ("inputs.a b", "expression_syntax"),
        ("'open", "expression_syntax"),
        ("inputs.$", "expression_syntax"),
        (".inputs.s", "expression_syntax"),
        ("1 + .inputs.s", "expression_syntax"),
        ("", "expression_syntax"),
        ("  ", "expression_syntax"),
        ("1e999", "expression_syntax"),
        ("9223372036854775808", "expression_syntax"),
        ("Type{a: 1}", "expression_syntax"),
        ("(" * 51 + "1" + ")" * 51, "too_deep"),
        ("'" + "x" * 2000 + "'", "too_long"),
        ("1" + "+1" * 1000, "too_long"),
    ],
)
def test_what_is_refused_when_it_is_compiled(expression: str, code: str) -> None:
    assert refused("{{" + expression + "}}") == code


@pytest.mark.parametrize(
    "text", ["{{", "{{inputs.s", "a {{inputs.s} b", "{{ '}} ", "{{ )}}", "x {{inputs.s}} {{", "{{ (}}"]
)
def test_an_expression_that_is_not_closed_is_refused(text: str) -> None:
    assert refused(text) == "expression_syntax"


def test_an_expression_of_exactly_the_limit_works() -> None:
    source = "'" + "x" * 1998 + "'"
    assert render("{{" + source + "}}") == "x" * 1998


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("{{inputs.nope}}", ["`inputs.nope` does not exist"]),
        ("{{inputs.o.map.x}}", ["`inputs.o.map.x` does not exist", "`inputs.o.map` is a plain value"]),
        ("{{inputs.none.x}}", ["`inputs.none.x`", "`inputs.none` is null"]),
        ("{{inputs.l[9]}}", ["`inputs.l[9]` does not exist", "a list of 3"]),
        ("{{inputs.l.x}}", ["`inputs.l.x`", "a list of 3"]),
        ("{{inputs.s[0]}}", ["`inputs.s[0]`"]),
        ("{{inputs.o.aa}}", ["`inputs.o.aa`", "Did you mean `a`?"]),
        ("{{tasks.other.outputs.x}}", ["`tasks.other.outputs.x`"]),
        ("{{tasks.done.outputs.x}}", ["`tasks.done.outputs.x`"]),
        ("{{nothing.x}}", ["there is no `nothing` here"]),
        ("{{inputs.nope + 1}}", ["`inputs.nope` does not exist", "`{{inputs.nope + 1}}`"]),
        ("{{inputs.o[inputs.s]}}", ["The key `héllo` does not exist"]),
        ("{{inputs.f + 1}}", ["Convert explicitly"]),
        ("{{inputs.s - 1}}", ["{{inputs.s - 1}}"]),
        ("{{1 / 0}}", ["division by zero"]),
        ("{{9223372036854775807 + 1}}", ["overflow"]),
        ("{{1.0 / 0.0}}", ["not a finite number"]),
        ("{{double('nan')}}", ["not a finite number"]),
        ("{{b'abc'}}", ["bytes"]),
        ("{{ {1: 2} }}", ["a key that is not text"]),
        ("{{uint('18446744073709551615')}}", ["64 bits"]),
        ("{{inputs.big + 1}}", ["`inputs.big` holds an integer of more than 64 bits"]),
        ("{{size(1)}}", ["`size` takes a text, a list or an object"]),
        ("{{inputs.s.matches('(')}}", ["missing )"]),
        ("{{int('x')}}", ["invalid digit"]),
        ("a {{inputs.none}}", ["`{{inputs.none}}` is null"]),
        ("a {{inputs.file}}", ["`{{inputs.file}}` is a file"]),
    ],
)
def test_a_failure_says_what_failed(template: str, parts: list[str]) -> None:
    error = failure(template)
    assert error.code == "expression"
    for part in parts:
        assert part in error.message


@pytest.mark.parametrize(
    ("template", "references"),
    [
        ("{{inputs.a}} {{tasks.x.outputs.y[0].z}}", {("inputs", "a"), ("tasks", "x", "outputs", "y", 0, "z")}),
        ("{{has(inputs.a) ? tasks.x.status : 'inputs.b'}}", {("inputs", "a"), ("tasks", "x", "status")}),
        ("{{inputs.a.size() + inputs.l[inputs.n]}}", {("inputs", "a"), ("inputs", "l"), ("inputs", "n")}),
        ({"k": ["{{secrets.S}}", "plain inputs.z"]}, {("secrets", "S")}),
        ("{{inputs[inputs.k]}}", {("inputs",), ("inputs", "k")}),
        ("{{1 + 2}}", set()),
    ],
)
def test_references(template: Any, references: set[tuple[Any, ...]]) -> None:
    assert compiled(template).references == references


class Watched(Mapping[str, Any]):
    """A mapping that loads its values late and notes which."""

    def __init__(self, **values: Any) -> None:
        self.values_, self.loaded = values, set[str]()

    def __getitem__(self, key: str) -> Any:
        value = self.values_[key]
        self.loaded.add(key)
        return value

    def __contains__(self, key: object) -> bool:
        return key in self.values_

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


@pytest.mark.parametrize("template", ["{{tasks.a.outputs.x}}", "{{tasks.a.outputs.x + '!'}}", "-{{tasks.a.outputs.x}}"])
def test_only_what_is_mentioned_is_loaded(template: str) -> None:
    outputs = Watched(x="1", y="2")
    tasks = Watched(a={"status": "COMPLETED", "outputs": outputs}, b={"status": "COMPLETED", "outputs": None})
    render(template, {"tasks": tasks})
    assert (outputs.loaded, tasks.loaded) == ({"x"}, {"a"})


def test_a_lazy_mapping_as_a_value_becomes_an_object() -> None:
    scope = {"tasks": {"a": {"outputs": Watched(x=1)}}}
    assert render("{{tasks.a.outputs}}", scope) == {"x": 1}
    assert type(render("{{tasks.a.outputs}}", scope)) is dict
    assert render("={{tasks.a.outputs}}", scope) == '={"x":1}'


@pytest.mark.parametrize(
    ("template", "inputs", "fits"),
    [
        ("{{inputs.a}}", {"a": "x" * MAX_RENDERED}, True),
        # A plain reference passes on what is there already; everything else makes something new.
        ("{{inputs.a}}", {"a": "x" * (3 * MAX_RENDERED)}, True),
        ("{{ (inputs.a) }}", {"a": "x" * (MAX_RENDERED + 1)}, False),
        ("={{inputs.a}}", {"a": "x" * MAX_RENDERED}, False),
        ("={{inputs.a}}", {"a": "é" * (MAX_RENDERED // 2 - 1)}, True),
        ("={{inputs.a}}", {"a": "é" * (MAX_RENDERED // 2 + 1)}, False),
        ("{{inputs.a}}{{inputs.a}}", {"a": "x" * (MAX_RENDERED // 2)}, True),
        ("{{inputs.a}}{{inputs.a}}!", {"a": "x" * (MAX_RENDERED // 2)}, False),
        ("{{inputs.a + inputs.a}}", {"a": "x" * (MAX_RENDERED // 2 + 1)}, False),
        (["{{inputs.a}}", "{{inputs.a}}"], {"a": "x" * (MAX_RENDERED // 2)}, False),
        ({"deep": "{{inputs.a}}"}, {"a": ["x"] * MAX_RENDERED}, False),
        ("={{inputs.a}}", {"a": ["x"] * MAX_RENDERED}, False),
        ("{{size(inputs.a)}}", {"a": "x" * (3 * MAX_RENDERED)}, True),
        ("{{size(inputs.a)}}", {"a": "x" * (MAX_READ + 1)}, False),
        ("{{size(inputs.a + inputs.a)}}", {"a": "x" * (MAX_READ // 2 + 1)}, False),
    ],
)
def test_a_rendered_value_is_bounded(template: Any, inputs: dict[str, Any], *, fits: bool) -> None:
    if fits:
        render(template, {"inputs": inputs})
    else:
        assert failure(template, {"inputs": inputs}).code == "too_large"


def test_a_constant_is_not_an_expression_and_has_no_bound() -> None:
    template = compiled("x" * (MAX_RENDERED + 1))
    assert template.is_constant
    assert template.render({}) == template.literal


def test_an_integer_too_long_for_decimal_digits_is_an_error_in_a_text() -> None:
    assert "JSON" in failure("={{inputs.a}}", {"inputs": {"a": 10**5000}}).message


def test_expressions_run_in_several_threads() -> None:
    template = compiled("{{size(inputs.s) + inputs.n}}")
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.extend(template.render(SCOPE) for _ in range(200))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [7] * 800


def test_a_value_nests_at_most_60_deep() -> None:
    value: Any = "{{inputs.n}}"
    for _ in range(61):
        value = [value]
    assert refused(value) == "too_deep"


def test_expressions_of_one_definition_are_bounded() -> None:
    report = Report()
    assert compile_template(" ".join(f"{{{{{n}+0}}}}" for n in range(50_000)), "", report) is None
    assert [one.code for one in report.problems] == ["too_many"]


def test_a_bracket_that_is_not_closed_is_not_mistaken_for_missing_braces() -> None:
    report = Report()
    compile_template("{{size(inputs.l}}", "/x", report)
    assert "line 1, column 14" in report.problems[0].detail
