"""What an execution may reach outside: the way out by HTTP, the provider's address, and the keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from django.conf import settings

from dataflow.lib.egress import Egress
from executions import secret_store, vault
from executions.models import Execution

OPENAI_KEY = "OPENAI_API_KEY"
#: The local voice wants no key, but the protocol has one.
LOCAL_VOICE_KEY = "local-voice"


@cache
def egress() -> Egress:
    """The one way out, under this installation's address rules; development opens loopback."""
    return Egress(
        allowed_hosts=frozenset(settings.DATAFLOW_ALLOWED_PRIVATE_HOSTS),
        allow_loopback=settings.DEBUG,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Where the OpenAI protocol is spoken (``None``: OpenAI itself) and with which key (``None``: there is none)."""

    base_url: str | None
    key: str | None
    #: Speech only, made on this machine.
    is_local_voice: bool = False


def provider_for(own_key: str | None) -> Provider:
    """As the installation sets it; the local voice where there is neither a key nor another server.

    The key is the execution's own, else the secret, else that of the environment. Raises
    ``TaskError('authentication')`` where the secret cannot be opened.
    """
    base_url = str(settings.OPENAI_BASE_URL) or None
    key = own_key or secret_store.fresh_value_of(OPENAI_KEY) or str(settings.OPENAI_API_KEY) or None
    if base_url is None and key is None and has_local_voice():
        return Provider(base_url=str(settings.DATAFLOW_LOCAL_VOICE_URL), key=LOCAL_VOICE_KEY, is_local_voice=True)
    return Provider(base_url=base_url, key=key)


def has_local_voice() -> bool:
    """Whether speech without a key is made on this machine (development only)."""
    return bool(settings.DATAFLOW_LOCAL_VOICE_URL)


def seal(secrets: dict[str, str]) -> str:
    """An execution's own secrets, encrypted for its row; empty for none."""
    return vault.encrypt(json.dumps(secrets)) if secrets else ""


def own_secret(execution_id: str, name: str) -> str | None:
    """A secret that was given for this execution alone."""
    sealed = Execution.objects.values_list("secrets", flat=True).get(pk=execution_id)
    found: str | None = json.loads(vault.decrypt(sealed)).get(name) if sealed else None
    return found
