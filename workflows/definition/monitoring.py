"""The shapes of ``monitoring`` and ``labels``, which a definition and an execution request share."""

from __future__ import annotations

from dataflow.lib.errors import Problem
from workflows.definition.problems import at, kind, nearest, shown
from workflows.definition.values import url_problem

EVENTS = ("started", "completed", "failed", "cancelled", "task")
MAX_LABELS = 50
MAX_LABEL_KEY = 64
MAX_LABEL_VALUE = 256
MAX_SECRET = 512
_FIELDS = ("webhook_url", "webhook")
_WEBHOOK_FIELDS = ("url", "events", "secret")


def check_monitoring(value: object, pointer: str) -> list[Problem]:
    """What is wrong with a ``monitoring`` value: ``{"webhook_url": …}`` or ``{"webhook": {"url", …}}``."""
    if not isinstance(value, dict):
        return [_wrong(pointer, f"`monitoring` must be an object, not {kind(value)}.")]
    problems = _unknown(value, _FIELDS, pointer)
    if "webhook_url" in value and "webhook" in value:
        problems.append(_problem(pointer, "conflicting", "Give either `webhook_url` or `webhook`, not both."))
    elif not problems and not value:
        problems.append(_problem(pointer, "required", "`monitoring` needs `webhook_url` or `webhook`."))
    if "webhook_url" in value:
        problems += _check_url(value["webhook_url"], at(pointer, "webhook_url"))
    if "webhook" in value:
        problems += _check_webhook(value["webhook"], at(pointer, "webhook"))
    return problems


def _check_webhook(value: object, pointer: str) -> list[Problem]:
    if not isinstance(value, dict):
        return [_wrong(pointer, f"`webhook` must be an object, not {kind(value)}.")]
    problems = _unknown(value, _WEBHOOK_FIELDS, pointer)
    if "url" in value:
        problems += _check_url(value["url"], at(pointer, "url"))
    else:
        problems.append(_problem(at(pointer, "url"), "required", "`webhook` needs `url`."))
    if "events" in value:
        problems += _check_events(value["events"], at(pointer, "events"))
    if "secret" in value:
        secret = value["secret"]
        if not isinstance(secret, str):
            problems.append(_wrong(at(pointer, "secret"), f"`secret` must be text, not {kind(secret)}."))
        elif not 1 <= len(secret) <= MAX_SECRET:
            problems.append(
                _problem(
                    at(pointer, "secret"),
                    "too_long" if secret else "too_short",
                    f"`secret` has 1 to {MAX_SECRET} characters.",
                )
            )
    return problems


def _check_events(value: object, pointer: str) -> list[Problem]:
    if not isinstance(value, list):
        return [_wrong(pointer, f"`events` must be a list, not {kind(value)}.")]
    if not value:
        return [_problem(pointer, "too_short", "`events` names at least one event; leave it out for the default ones.")]
    if len(value) > len(EVENTS):
        return [_problem(pointer, "too_many", f"`events` names each of the {len(EVENTS)} events at most once.")]
    problems = []
    for index, event in enumerate(value):
        if event not in EVENTS:
            hint = nearest(event, EVENTS) or f"Known events: {', '.join(EVENTS)}."
            problems.append(_problem(at(pointer, index), "not_in_enum", f"There is no event {shown(event)}.", hint))
        elif event in value[:index]:
            problems.append(
                _problem(at(pointer, index), "duplicate_name", f"The event {shown(event)} is listed twice.")
            )
    return problems


def _check_url(value: object, pointer: str) -> list[Problem]:
    if not isinstance(value, str):
        return [_wrong(pointer, f"The URL must be text, not {kind(value)}.")]
    reason = url_problem(value)
    return [_problem(pointer, "invalid_url", f"The URL {reason}.")] if reason else []


def check_labels(value: object, pointer: str) -> list[Problem]:
    """What is wrong with ``labels``: an object of at most 50 texts, keys up to 64 and values up to 256 characters."""
    if not isinstance(value, dict):
        return [_wrong(pointer, f"`labels` must be an object, not {kind(value)}.")]
    if len(value) > MAX_LABELS:
        return [_problem(pointer, "too_many", f"There are at most {MAX_LABELS} labels, not {len(value)}.")]
    problems = []
    for key, label in value.items():
        place = at(pointer, key)
        if not 1 <= len(str(key)) <= MAX_LABEL_KEY:
            problems.append(_problem(place, "invalid_name", f"The key of a label has 1 to {MAX_LABEL_KEY} characters."))
        if not isinstance(label, str):
            problems.append(_wrong(place, f"The label {shown(key)} must be text, not {kind(label)}."))
        elif len(label) > MAX_LABEL_VALUE:
            problems.append(
                _problem(place, "too_long", f"The value of a label has at most {MAX_LABEL_VALUE} characters.")
            )
    return problems


def _unknown(value: dict[str, object], known: tuple[str, ...], pointer: str) -> list[Problem]:
    return [
        _problem(at(pointer, key), "unknown_field", f"There is no field {shown(key)} here.", nearest(key, known))
        for key in list(value)[:20]
        if key not in known
    ]


def _wrong(pointer: str, detail: str) -> Problem:
    return _problem(pointer, "wrong_type", detail)


def _problem(pointer: str, code: str, detail: str, hint: str = "") -> Problem:
    return Problem(pointer=pointer, code=code, detail=detail, hint=hint)
