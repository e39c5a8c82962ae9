"""``words.count``: a task type that comes with a package of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType

#: Words that are given at most.
MAX_WORDS = 1000


class WordsCount(TaskType):
    """Counts how often each word of a text occurs."""

    name = "words.count"
    title = "Count words"
    category = "text"
    description = "Counts how often each word of a text occurs, without regard to case."
    inputs = (
        Field(name="text", type="text", required=True, description="The text", example="One fish, two fish"),
        Field(
            name="limit",
            type="number",
            default=10,
            minimum=1,
            maximum=MAX_WORDS,
            description="How many words to give, the most frequent first",
        ),
    )
    outputs = (
        Field(name="words", type="object", description="Each word and how often it occurs", example={"fish": 2}),
        Field(name="total", type="number", description="How many words the text has", example=4),
    )
    example = {"text": "One fish, two fish", "limit": 3}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Split at everything that is neither letter nor digit."""
        text = "".join(character if character.isalnum() else " " for character in inputs["text"].lower())
        context.cancellation.check()
        counted = Counter(text.split())
        return {"words": dict(counted.most_common(int(inputs["limit"]))), "total": counted.total()}
