"""Public ids: ``wf-``, ``we-``, ``fl-`` and so on, followed by lower-case letters and digits."""

from __future__ import annotations

import secrets
from string import ascii_lowercase, digits

_ALPHABET = ascii_lowercase + digits
_LENGTH = 16
_ALL = len(_ALPHABET) ** _LENGTH


def new_id(prefix: str) -> str:
    """A new unguessable id such as ``we-4g7h8j9k2m3n4p5q`` (16 characters, 82 bits)."""
    # One draw: each is a system call.
    number, characters = secrets.randbelow(_ALL), []
    for _ in range(_LENGTH):
        number, place = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[place])
    return f"{prefix}-{''.join(characters)}"
