"""``web.extract_text``: what a page says, without what surrounds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from tasks_lib import web_text
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType


class WebExtractText(TaskType):
    """The main text of a page; a small page gives all its text."""

    name = "web.extract_text"
    title = "Extract text from a page"
    category = "web"
    description = "The main content of an HTML page as text, without navigation, scripts and ads."
    inputs = (
        Field(
            name="html",
            type="text",
            required=True,
            description="The page",
            example="<html><body><h1>Hello</h1><p>A page.</p></body></html>",
            max_length=web_text.MAX_HTML,
        ),
        Field(
            name="favour",
            type="text",
            default="balanced",
            enum=("balanced", "precision", "recall"),
            aliases=("favor",),
            description="Rather leave out too much (`precision`) or too little (`recall`)",
        ),
    )
    outputs = (
        Field(name="text", type="text", description="The main text", example="Hello\nA page."),
        Field(name="title", type="text", description="Title, where the page has one"),
        Field(name="language", type="text", description="Language code, where the page says it", example="en"),
        Field(name="author", type="text", description="Author, where the page says it"),
        Field(name="date", type="text", description="Date of the text, where the page says it", example="2026-11-23"),
    )
    example = {"html": "<html><body><h1>Hello</h1><p>A page.</p></body></html>"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Extract the text. Raises ``too_large`` for a page over 5,000,000 characters."""
        page = web_text.extract(inputs["html"], inputs["favour"])
        context.cancellation.check()
        return asdict(page)
