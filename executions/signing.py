"""Signatures of webhooks after the Standard Webhooks specification (webhook-id, webhook-timestamp, webhook-signature).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Q
from standardwebhooks.webhooks import Webhook

from executions import vault
from executions.database import database_now
from executions.models import SigningSecret

_PREFIX = "whsec_"
#: A retired secret still signs beside the new one for so long.
ROTATION = timedelta(hours=24)


def headers_for(*, message_id: str, body: str, keys: Sequence[str], at: datetime) -> dict[str, str]:
    """The three headers of one try. ``body`` must be sent as exactly these characters in UTF-8.

    Several ``keys`` give several signatures, separated by spaces, as the specification says for rotation.
    """
    moment = at.astimezone(UTC)  # the library signs the wall clock of other zones
    signatures = [Webhook(_key_bytes(key)).sign(message_id, moment, body) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def keys_for(own_secret: str, *, at: datetime) -> list[str]:
    """What signs an execution's webhooks: its own secret (encrypted; empty for none), else the installation's."""
    return [vault.decrypt(own_secret)] if own_secret else installation_keys(at)


def installation_keys(at: datetime | None = None) -> list[str]:
    """The installation's signing secrets that count at a moment (now), the newest first. The first use makes one."""
    counting = Q(retired_at=None) | Q(retired_at__gt=(at or database_now()) - ROTATION)
    found = list(SigningSecret.objects.filter(counting).values_list("secret", flat=True))
    return [vault.decrypt(secret) for secret in found] or [rotate()]


def rotate() -> str:
    """Make a new installation secret and retire the ones before it. Returns the new one."""
    secret = new_secret()
    with transaction.atomic():
        SigningSecret.objects.filter(retired_at=None).update(retired_at=database_now())
        SigningSecret.objects.create(secret=vault.encrypt(secret))
    return secret


def new_secret() -> str:
    """A fresh ``whsec_…`` of 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _key_bytes(secret: str) -> bytes:
    """The key in a secret, as the Standard Webhooks libraries read it: base64, with or without ``whsec_``.

    A text that is not base64 is the key itself, in UTF-8.
    """
    text = secret.removeprefix(_PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True) or secret.encode()
    except ValueError:  # binascii.Error, or characters beyond ASCII
        return secret.encode()
