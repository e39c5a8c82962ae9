"""What a person can do about an error, by its code. A test holds this to the list of codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ADVICE = {
    "validation": "An input of the task does not fit. Compare the inputs as sent with what the task type asks for, "
    "then correct the definition or run again with other inputs.",
    "expression": "An expression could not be worked out. Look at the template beside the value, and at the outputs "
    "of the tasks it refers to.",
    "authentication": "The provider refused the key. Check it (header X-OpenAI-Key, or the server's own key) and run "
    "again; another try with the same key will not help.",
    "authorization": "It was not allowed: somebody rejected it, or the key is valid but may not do this. Ask who "
    "rejected it, get the permission, or use another key; then resume.",
    "timeout": "It took longer than its timeout. Run again, or raise the task's “timeout” if it needs longer.",
    "communication": "The other side could not be reached or broke off. Check the address and that the server is up, "
    "then run again; “retry” in the definition makes such tries automatic.",
    "rate_limited": "The provider asks for fewer requests. Run again later, or give the task a “retry” with a delay.",
    "provider_error": "The provider failed. Its message is above; run again later, or give the task a “retry”.",
    "content_refused": "The provider refused the content. Change the text that is sent.",
    "output_invalid": "The task gave something other than it promised. Its log says what; for an own task type, "
    "look at what it returns.",
    "too_large": "A value is over its limit. Give the task less, or cut the value before (text.truncate).",
    "blocked_address": "The address is inside this network, which tasks may not reach. Use a public address, or let "
    "an administrator allow the host (DATAFLOW_ALLOWED_PRIVATE_HOSTS).",
    "worker_lost": "The worker died while the task ran, and running it twice may do harm. Check whether it had its "
    "effect, then run again.",
    "cancelled": "Somebody cancelled it. Run it again if that was not meant.",
    "dependency_failed": "A task before it failed; look there first.",
    "budget_exceeded": "The limit for spending is used up. Raise it, or wait for the next period.",
    "runtime": "The task failed in a way it did not foresee. Its log may say more; the worker's log has the details.",
}


def advice_for(error: Mapping[str, Any] | None, task_type: str = "") -> str:
    """What to do about an error (``code``, ``message``) of a task of this type; nothing for an unknown code.

    A ``flow.fail`` says it in its own message: what its author wrote there is no surprise and has no log.
    """
    code = (error or {}).get("code")
    return "" if task_type == "flow.fail" and code != "expression" else ADVICE.get(str(code), "")
