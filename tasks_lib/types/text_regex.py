"""``text.regex``: what a pattern finds in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dataflow.lib.errors import TaskError
from dataflow.lib.patterns import MAX_PATTERN, compile_pattern
from dataflow.lib.wording import shown
from tasks_lib.base import MISSING, Field, JsonValue, TaskContext, TaskType
from tasks_lib.texts import MAX_PARTS, MAX_TEXT, require_length, whole_number

#: What a replacement may refer to: ``\1``, ``\g<name>``, and ``\\`` for a backslash. All else is as written.
_REFERENCE = re.compile(r"\\(?:(?P<number>\d{1,2})|g<(?P<name>\w{1,64})>|(?P<backslash>\\))", re.ASCII)
_FLAGS = {"ignore_case": "i", "multiline": "m", "dot_all": "s"}


class TextRegex(TaskType):
    """Finds, extracts, replaces or tests by RE2: a match takes time linear in the text, whatever the pattern."""

    name = "text.regex"
    title = "Regular expression"
    category = "text"
    description = (
        "Finds what a pattern matches, extracts its groups, replaces it, or tests for it. Patterns are those of RE2 "
        "(https://github.com/google/re2/wiki/Syntax): no look-around and no back-references, so none takes for ever."
    )
    inputs = (
        Field(name="text", type="text", required=True, description="Where to look", example="Ada: 36, Alan: 41"),
        Field(
            name="pattern",
            type="text",
            required=True,
            min_length=1,
            description=f"The pattern, at most {MAX_PATTERN:,} characters",
            example=r"(?P<name>\w+): (?P<age>\d+)",
        ),
        Field(
            name="mode",
            type="text",
            default="find",
            enum=("find", "extract", "replace", "test"),
            description="`find`: what matches; `extract`: its groups; `replace`; `test`: only whether it matches",
            example="extract",
        ),
        Field(
            name="replacement",
            type="text",
            description=r"For `replace`: what stands there then; `\1` and `\g<name>` are groups, `\\` is a backslash",
            example=r"\g<age> \g<name>",
        ),
        Field(name="ignore_case", type="boolean", default=False, description="Whether a and A are the same"),
        Field(name="multiline", type="boolean", default=False, description="Whether ^ and $ match at every line"),
        Field(name="dot_all", type="boolean", default=False, description="Whether . matches a line's end too"),
        Field(
            name="limit",
            type="number",
            minimum=1,
            maximum=MAX_PARTS,
            description=f"How many matches to take. Without it all; more than {MAX_PARTS:,} are an error",
        ),
    )
    outputs = (
        Field(
            name="matches",
            type="list",
            description="`find`: texts. `extract`: for each match an object of its named groups, else a list of groups",
            example=[{"name": "Ada", "age": "36"}, {"name": "Alan", "age": "41"}],
        ),
        Field(name="first", type="any", description="The first of `matches`", example={"name": "Ada", "age": "36"}),
        Field(name="found", type="boolean", description="Whether it matches at all", example=True),
        Field(name="count", type="number", description="How many matches were taken", example=2),
        Field(name="text", type="text", description="`replace`: the text after it"),
    )
    timeout = 60.0
    example = {"text": "Ada: 36, Alan: 41", "pattern": r"(?P<name>\w+): (?P<age>\d+)", "mode": "extract"}

    def check(self, given: Mapping[str, JsonValue]) -> Iterator[tuple[str, str]]:
        """The pattern, and what the mode asks for."""
        pattern, mode = given.get("pattern", MISSING), given.get("mode", "find")
        compiled = None
        if pattern is not MISSING:
            try:
                compiled = compile_pattern(pattern)
            except ValueError as problem:
                yield "pattern", f"The pattern cannot be used: {problem}."
        if mode == "replace" and "replacement" not in given:
            yield "replacement", "`mode: replace` needs `replacement`; an empty text removes what matches."
        if mode == "extract" and compiled is not None and not compiled.groups:
            yield "pattern", _NO_GROUPS
        if mode == "replace" and compiled is not None and isinstance(replacement := given.get("replacement"), str):
            try:
                _parts_of(replacement, compiled)
            except TaskError as problem:
                yield "replacement", problem.message

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Match. Raises ``TaskError``: ``validation`` for the pattern, ``too_large`` for text or matches."""
        text, mode = inputs["text"], inputs["mode"]
        if len(text) > MAX_TEXT:
            message = f"`text` has {len(text):,} characters; at most {MAX_TEXT:,} are looked at. Split it."
            raise TaskError("too_large", message)
        compiled = _compiled(inputs)
        if mode == "test":
            found = compiled.search(text) is not None
            return {"matches": [], "found": found, "count": int(found)}
        matches = _matches(context, compiled, text, inputs["limit"])
        if mode == "replace":
            replaced, count = _replaced(matches, text, _replacement(inputs, compiled))
            return {"matches": [], "found": count > 0, "count": count, "text": replaced}
        if mode == "extract" and not compiled.groups:
            raise TaskError("validation", _NO_GROUPS)
        taken = [_taken(match, mode, compiled.groupindex) for match in matches]
        return {"matches": taken, "first": taken[0] if taken else None, "found": bool(taken), "count": len(taken)}


_NO_GROUPS = "`mode: extract` needs groups in the pattern, such as `(\\d+)` or `(?P<year>\\d+)`."


def _taken(match: Any, mode: str, names: Mapping[str, int]) -> JsonValue:
    """What is given for a match; a group that takes no part is null."""
    if mode == "find":
        return match.group()
    groups = match.groups()
    # The library lists names by the alphabet.
    by_place = sorted(names, key=names.__getitem__)
    return {name: groups[names[name] - 1] for name in by_place} if names else list(groups)


def _compiled(inputs: Mapping[str, JsonValue]) -> Any:
    flags = "".join(letter for name, letter in _FLAGS.items() if inputs[name])
    try:
        return compile_pattern(f"(?{flags}){inputs['pattern']}" if flags else inputs["pattern"])
    except ValueError as problem:
        raise TaskError("validation", f"`pattern` cannot be used: {problem}.") from None


def _matches(context: TaskContext, compiled: Any, text: str, limit: float | None) -> Iterator[Any]:
    """Match after match. One is linear, but thousands over a long text add up: so the deadline is looked at."""
    most = MAX_PARTS if limit is None else whole_number(limit, "limit", 1)
    count, last = 0, (-1, -1)
    for match in compiled.finditer(text):
        context.cancellation.check()
        if match.span() == last:  # the library finds what is empty twice
            continue
        if count == most:
            if limit is not None:
                return
            message = f"There are more than {MAX_PARTS:,} matches. Give a `limit`, or split the text."
            raise TaskError("too_large", message)
        count, last = count + 1, match.span()
        yield match


def _replacement(inputs: Mapping[str, JsonValue], compiled: Any) -> list[str | int]:
    if inputs["replacement"] is None:
        raise TaskError("validation", "`mode: replace` needs `replacement`; an empty text removes what matches.")
    return _parts_of(inputs["replacement"], compiled)


def _parts_of(replacement: str, compiled: Any) -> list[str | int]:
    """Texts, and numbers of groups, in the order in which they stand there."""
    parts: list[str | int] = []
    start = 0
    for found in _REFERENCE.finditer(replacement):
        parts.append(replacement[start : found.start()])
        start = found.end()
        if found["backslash"]:
            parts.append("\\")
            continue
        name = found["number"] or found["name"]
        group = int(name) if name.isdecimal() else compiled.groupindex.get(name, -1)
        if not 0 <= group <= compiled.groups:
            names = ", ".join([*map(str, range(1, compiled.groups + 1)), *compiled.groupindex])
            has = f"the groups {names[:200]}" if names else "no groups"
            raise TaskError("validation", f"`replacement` refers to {shown(found[0])}; the pattern has {has}.")
        parts.append(group)
    return [*parts, replacement[start:]]


def _replaced(matches: Iterator[Any], text: str, parts: list[str | int]) -> tuple[str, int]:
    pieces: list[str] = []
    size = start = count = 0
    for match in matches:
        pieces.append(text[start : match.start()])
        pieces.extend(part if isinstance(part, str) else match.group(part) or "" for part in parts)
        size += sum(map(len, pieces[-len(parts) - 1 :]))
        require_length(size)
        start = match.end()
        count += 1
    return "".join([*pieces, text[start:]]), count
