"""What a start request holds: JSON, or multipart with the files of its inputs beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from rest_framework.request import Request

from dataflow.lib.errors import ApiProblem, Problem, invalid
from dataflow.lib.jsonvalues import JsonError, parse_json
from executions import services
from workflows.definition.problems import at, nearest, shown

#: What a start may hold. In multipart each is a part of JSON, and every file part is the input of its name.
FIELDS = ("inputs", "monitoring", "workflow_version", "labels", "priority", "delay", "start_at")
MAX_KEY_CHARACTERS = 500


@contextmanager
def start_body(request: Request) -> Iterator[Mapping[str, Any]]:
    """The body with nothing unknown in it. Uploaded files are stored; they go again when the block fails.

    Raises ``ApiProblem`` 400 with all that is wrong.
    """
    if not isinstance(request.data, QueryDict):
        yield object_with(request.data, FIELDS)
        return
    if "Idempotency-Key" in request.headers:
        detail = "With `Idempotency-Key` upload the file by POST /files first, and pass its id."
        raise invalid(detail, [Problem(pointer="/Idempotency-Key", code="conflicting", detail=detail)])
    uploads = {name: several[-1] for name, several in request.FILES.lists()}
    texts = {name: value for name, value in request.data.items() if name not in uploads}
    body = {name: _json_part(name, text) for name, text in object_with(texts, FIELDS).items()}
    with _stored(uploads) as file_ids:
        inputs = body.get("inputs", {})
        yield body | ({"inputs": {**inputs, **file_ids}} if isinstance(inputs, Mapping) else {})


def object_with(data: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    """``data`` as an object that holds nothing but ``known`` fields. Raises ``ApiProblem`` 400."""
    if not isinstance(data, Mapping):
        detail = f"The body must be a JSON object with {', '.join(f'`{name}`' for name in known)}."
        raise invalid(detail, [Problem(pointer="", code="wrong_type", detail=detail)])
    unknown = [name for name in data if name not in known]
    if unknown:
        problems = [
            Problem(
                pointer=at("", name),
                code="unknown_field",
                detail=f"There is no field {shown(name)} here.",
                hint=nearest(name, known) or ("Inputs go into `inputs`." if "inputs" in known else ""),
            )
            for name in unknown[:20]
        ]
        raise invalid("The request has fields that are not known.", problems)
    return data


def _json_part(name: str, text: str) -> Any:
    try:
        return parse_json(text.encode("utf-8", "surrogatepass"))
    except JsonError as error:
        detail = f"The part `{name}` is not JSON: {error.detail}"
        raise invalid(detail, [Problem(pointer=at("", name), code=error.code, detail=detail)]) from error


MAX_KEY_CHARACTERS = 500


@contextmanager
def _stored(uploads: Mapping[str, UploadedFile[bytes]]) -> Iterator[dict[str, str]]:
    """The ids of the stored files by the name of their part."""
    stored = {}
    try:
        for name, upload in uploads.items():
            stored[name] = services.save_upload(upload=upload)
        yield {name: file.pk for name, file in stored.items()}
    except ApiProblem:
        for file in stored.values():
            services.discard_upload(stored=file)
        raise


def openai_key(request: Request) -> str | None:
    """The key in the header ``X-OpenAI-Key``, ``None`` without one."""
    key = request.headers.get("X-OpenAI-Key")
    if key is not None and not (
        1 <= len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable() and " " not in key
    ):
        detail = f"The header X-OpenAI-Key must be one printable word of at most {MAX_KEY_CHARACTERS} characters."
        raise invalid(detail, [Problem(pointer="/X-OpenAI-Key", code="invalid_header", detail=detail)])
    return key
