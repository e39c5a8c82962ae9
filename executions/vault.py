"""Encryption at rest of what must not be readable in a database dump (keys, signing secrets).

With an ``owner`` (what the text is, and its name) the text is bound to it: rows cannot be swapped.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

_BOUND = "\x00"


def encrypt(text: str, owner: str = "") -> str:
    """``text`` encrypted with the newest of ``DATAFLOW_ENCRYPTION_KEYS``; empty stays empty."""
    bound = f"{owner}{_BOUND}{text}" if owner else text
    return _fernet().encrypt(bound.encode()).decode() if text else ""


def decrypt(token: str, owner: str = "") -> str:
    """The reverse of ``encrypt``, with any of the keys. ``ValueError`` when none fits, or it is another owner's."""
    try:
        text = _fernet().decrypt(token.encode()).decode() if token else ""
    except InvalidToken as error:
        raise ValueError("No key in DATAFLOW_ENCRYPTION_KEYS opens this secret.") from error
    if not owner or not token:
        return text
    prefix = f"{owner}{_BOUND}"
    if not text.startswith(prefix):
        raise ValueError("This secret was stored under another name.")
    return text.removeprefix(prefix)


def renewed(token: str) -> str | None:
    """``token`` under the newest key; ``None`` where it is so already. ``ValueError`` when no key opens it."""
    newest = Fernet(settings.DATAFLOW_ENCRYPTION_KEYS[0])
    try:
        newest.decrypt(token.encode())
    except InvalidToken:
        try:
            return _fernet().rotate(token.encode()).decode()
        except InvalidToken as error:
            raise ValueError("No key in DATAFLOW_ENCRYPTION_KEYS opens this secret.") from error
    return None


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.DATAFLOW_ENCRYPTION_KEYS])
