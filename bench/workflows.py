"""The workflows that are measured."""

from __future__ import annotations

from typing import Any

#: The work of ../shared/spec/7-performance.md: a 13-character text, reversed, passed on.
THREE_STEPS: dict[str, Any] = {
    "title": "Three steps",
    "tasks": [
        {"name": "one", "type": "text.static", "inputs": {"text": "Hello, world!"}},
        {"name": "two", "type": "text.reverse", "inputs": {"text": "{{tasks.one.outputs.text}}"}},
        {"name": "three", "type": "text.echo", "inputs": {"text": "{{tasks.two.outputs.text}}"}},
    ],
    "outputs": [{"name": "text", "type": "text", "value": "{{tasks.three.outputs.text}}"}],
}


def sequence(steps: int) -> dict[str, Any]:
    """Each step passes on the text of the one before."""
    first = {"name": "t0", "type": "text.static", "inputs": {"text": "Hello, world!"}}
    rest = [
        {"name": f"t{place}", "type": "text.reverse", "inputs": {"text": f"{{{{tasks.t{place - 1}.outputs.text}}}}"}}
        for place in range(1, steps)
    ]
    return {"title": f"{steps} steps", "tasks": [first, *rest]}


def waits_on(url: str) -> dict[str, Any]:
    """One task that reads a page."""
    return {"title": "Waits", "tasks": [{"name": "page", "type": "web.download", "inputs": {"url": url}}]}


FOR_EACH: dict[str, Any] = {
    "title": "For each",
    "inputs": [{"name": "texts", "type": "list", "required": True}],
    "tasks": [
        {
            "name": "each",
            "type": "text.reverse",
            "for_each": "{{inputs.texts}}",
            "inputs": {"text": "{{item}}"},
        }
    ],
}


def extracts(html: str) -> dict[str, Any]:
    """One task that uses the CPU for as long as ``html`` is large."""
    return {"title": "Works", "tasks": [{"name": "page", "type": "web.extract_text", "inputs": {"html": html}}]}
