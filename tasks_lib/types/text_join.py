"""``text.join``: a list as one text."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.texts import as_text, require_length


class TextJoin(TaskType):
    """Puts the items of a list one after the other, with a text between them."""

    name = "text.join"
    title = "Join texts"
    category = "text"
    description = (
        "Joins the items of a list to one text. Texts go in as they are, all else as JSON; items that are null are "
        "left out."
    )
    quick = True
    inputs = (
        Field(name="list", type="list", required=True, description="What to join", example=["one", "two", "three"]),
        Field(
            name="separator",
            type="text",
            default="\n",
            description="What stands between two items; a new line unless said otherwise",
            example=", ",
        ),
    )
    outputs = (
        Field(name="text", type="text", description="The whole", example="one, two, three"),
        Field(name="count", type="number", description="How many items are in it", example=3),
    )
    timeout = 60.0
    example = {"list": ["one", "two", "three"], "separator": ", "}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Join. Raises ``TaskError('too_large')``."""
        separator: str = inputs["separator"]
        parts = [as_text(item) for item in inputs["list"] if item is not None]
        require_length(sum(map(len, parts)) + len(separator) * max(len(parts) - 1, 0))
        return {"text": separator.join(parts), "count": len(parts)}
