"""The webhook secret in a definition is write-only: shown masked, and a mask that comes back means the old one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.lib.errors import Problem, invalid

MASK = "********"
_POINTER = "/monitoring/webhook/secret"


def masked(document: Any) -> Any:
    """``document`` as it may be shown."""
    return document if _secret_of(document) is None else _with_secret(document, MASK)


def unmasked(document: Any, current: Any) -> Any:
    """``document`` with the secret of ``current`` in place of the mask. Raises ``ApiProblem`` 400 if there is none."""
    if _secret_of(document) != MASK:
        return document
    if (secret := _secret_of(current)) is None:
        detail = (
            "This is the mask that stands for a secret, and there is no earlier secret here. Give the secret itself."
        )
        raise invalid(detail, [Problem(pointer=_POINTER, code="masked_secret", detail=detail)])
    return _with_secret(document, secret)


def _secret_of(document: Any) -> str | None:
    monitoring = document.get("monitoring") if isinstance(document, Mapping) else None
    webhook = monitoring.get("webhook") if isinstance(monitoring, Mapping) else None
    secret = webhook.get("secret") if isinstance(webhook, Mapping) else None
    return secret if isinstance(secret, str) else None


def _with_secret(document: Any, secret: str) -> Any:
    webhook = {**document["monitoring"]["webhook"], "secret": secret}
    return {**document, "monitoring": {**document["monitoring"], "webhook": webhook}}
