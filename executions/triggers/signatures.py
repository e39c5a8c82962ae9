"""Whether a request is signed by who knows the hook's secret. Compared in constant time, over the bytes that came."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from dataflow.lib.errors import ApiProblem
from executions import signing
from executions.trigger_models import SignatureKind

#: How far the sender's clock may be from ours; an older request may be a repeated one.
TOLERANCE = timedelta(minutes=5)
_LONGEST_TIMESTAMP = 12
_MOST_SIGNATURES = 20


def check(kind: str, secret: str, *, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Raise ``ApiProblem`` 401 unless ``body`` is signed as ``kind`` says. ``headers`` have names in lower case."""
    if kind and not _CHECKS[kind](secret, headers, body, now):
        raise ApiProblem(
            status=401,
            code="authentication",
            title="Unauthorized",
            detail=_HINTS[kind],
            headers={"WWW-Authenticate": "Signature"},
        )


def delivery_id(headers: Mapping[str, str]) -> str | None:
    """What the sender calls this delivery, the same when it sends it again."""
    return headers.get("webhook-id") or headers.get("x-github-delivery") or None


def _standard(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _LONGEST_TIMESTAMP):
        return False
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE.total_seconds():
        return False
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return False
    at = datetime.fromtimestamp(int(timestamp), UTC)
    expected = signing.headers_for(message_id=message_id, body=text, keys=[secret], at=at)["webhook-signature"]
    given = headers.get("webhook-signature", "").split()[:_MOST_SIGNATURES]
    return any(_same(expected, one) for one in given)


def _github(secret: str, headers: Mapping[str, str], body: bytes, _now: datetime) -> bool:
    expected = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
    return _same(expected, headers.get("x-hub-signature-256", ""))


def _same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode(errors="replace"))


_CHECKS: Mapping[str, Callable[[str, Mapping[str, str], bytes, datetime], bool]] = {
    SignatureKind.STANDARD: _standard,
    SignatureKind.GITHUB: _github,
}
_HINTS: Mapping[str, str] = {
    SignatureKind.STANDARD: "The request is not signed, not with this hook's secret, or more than 5 minutes off: send "
    "webhook-id, webhook-timestamp and webhook-signature after the Standard Webhooks specification.",
    SignatureKind.GITHUB: "The request is not signed with this hook's secret: send the header X-Hub-Signature-256.",
}
