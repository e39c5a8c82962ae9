"""Encryption at rest of what must not be readable in a database dump (keys, signing secrets)."""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


def encrypt(text: str) -> str:
    """``text`` encrypted with the newest of ``DATAFLOW_ENCRYPTION_KEYS``; empty stays empty."""
    return _fernet().encrypt(text.encode()).decode() if text else ""


def decrypt(token: str) -> str:
    """The reverse of ``encrypt``, with any of the keys. ``ValueError`` when none fits."""
    try:
        return _fernet().decrypt(token.encode()).decode() if token else ""
    except InvalidToken as error:
        raise ValueError("No key in DATAFLOW_ENCRYPTION_KEYS opens this secret.") from error


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.DATAFLOW_ENCRYPTION_KEYS])
