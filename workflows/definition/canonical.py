"""One text for each definition, and its hash.

Keys are sorted by code point, there is no white space, text stays UTF-8. ``1`` and ``1.0`` stay different:
an integer stays an integer all the way through the platform, so they do not mean the same. What is left out and
what is given with its default value differ too: the hash is of the document, not of its meaning.
"""

from __future__ import annotations

import hashlib
import json

from tasks_lib.base import JsonValue


def canonical_json(document: JsonValue) -> str:
    """``document`` as canonical JSON. Raises ``ValueError`` for NaN and Infinity, which are not JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def definition_hash(document: JsonValue) -> str:
    """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(document).encode("utf-8", "surrogatepass")).hexdigest()
