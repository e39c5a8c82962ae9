"""Public ids: ``wf-``, ``we-``, ``fl-`` and so on, followed by lower-case letters and digits."""

from __future__ import annotations

import secrets
from string import ascii_lowercase, digits

_ALPHABET = ascii_lowercase + digits


def new_id(prefix: str) -> str:
    """A new unguessable id such as ``we-4g7h8j9k2m3n4p5q`` (16 characters, 82 bits)."""
    return f"{prefix}-{''.join(secrets.choice(_ALPHABET) for _ in range(16))}"
