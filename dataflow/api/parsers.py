"""The one way in for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from dataflow.api.errors import TOO_LARGE
from dataflow.lib.errors import ApiProblem, Problem, invalid
from dataflow.lib.jsonvalues import JsonError, parse_json


class StrictJsonParser(BaseParser):
    """JSON in UTF-8: no NaN, NUL characters, lone surrogates, duplicate keys, deep nesting or huge numbers."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The parsed document. Raises ``ApiProblem`` 400 (not good JSON) or 413 (over 10 MiB)."""
        _refuse_other_charsets(media_type or "")
        data = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        if len(data) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise ApiProblem(status=413, code="too_large", title="Content too large", detail=TOO_LARGE)
        try:
            return parse_json(data)
        except JsonError as error:
            problem = Problem(pointer=error.pointer, code=error.code, detail=error.detail)
            raise invalid(error.detail, [problem], code="invalid_json") from error


class MergePatchParser(StrictJsonParser):
    """A JSON merge patch under the media type of RFC 7396, parsed as strictly."""

    media_type = "application/merge-patch+json"


def _refuse_other_charsets(media_type: str) -> None:
    for parameter in media_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaType(media_type)
