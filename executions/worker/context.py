"""What a running try may use: the platform's side of ``tasks_lib.base.TaskContext``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal

from dataflow.lib.cancellation import Cancellation
from dataflow.lib.egress import Egress
from dataflow.lib.errors import TaskError
from dataflow.lib.jsonvalues import clean_json
from dataflow.lib.times import rfc3339
from executions import files, secret_store, tools
from executions.engine.outcomes import Notes
from executions.engine.planner import Claim
from executions.hidden import Veil
from executions.models import Execution
from executions.outside import OPENAI_KEY, Provider, egress, own_secret, provider_for
from executions.redaction import remember
from executions.worker.database import release_connection
from tasks_lib import connections, registry
from tasks_lib.base import Files, Resumed

MAX_LOG_LINES = 1000
MAX_LOG_CHARACTERS = 256 * 1024


@dataclass(slots=True, kw_only=True)
class TryFiles:
    """Files of one try."""

    claim: Claim
    http: Egress
    veil: Veil

    @contextmanager
    def create(
        self, name: str, content_type: str, *, metadata: Mapping[str, Any] | None = None
    ) -> Iterator[files.Writer]:
        """A new file, linked to the execution. What is told of it is masked; its content is the task's own."""
        name, content_type = self.veil.told.text(name), self.veil.told.text(content_type)
        metadata = self.veil.stored.value(dict(metadata or {}))
        execution_id, task = self.claim.execution_id, self.claim.task
        with files.creating(name, content_type, metadata=metadata, execution_id=execution_id, task=task) as writer:
            yield writer
        release_connection()

    @contextmanager
    def open(self, value: Mapping[str, Any]) -> Iterator[IO[bytes]]:
        """The content of a file value; one that is only a URL is fetched under the rules of ``web.download``."""
        if value.get("file_id"):
            with files.open_stored(value["file_id"]) as content:
                release_connection()  # reading it may take as long as the other side likes
                yield content
        elif value.get("url"):
            with self._fetched(value["url"]) as content:
                yield content
        else:
            raise TaskError("validation", "A file value needs `file_id` or `url`.")

    def describe(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """A file value with all that is known of the file, where it has no more than an id."""
        if "name" in value or not value.get("file_id"):
            return dict(value)
        known = files.value_of(value["file_id"])
        release_connection()
        return known or dict(value)

    @contextmanager
    def _fetched(self, url: str) -> Iterator[IO[bytes]]:
        with SpooledTemporaryFile(max_size=1024 * 1024) as spool:
            with self.http.request("GET", url, timeout=self.claim.timeout, max_bytes=files.MAX_BYTES) as answer:
                if not 200 <= answer.status < 300:
                    raise TaskError("communication", f"{url} answered {answer.status}.", retryable=answer.status >= 500)
                for chunk in answer.iter_bytes():
                    spool.write(chunk)
            spool.seek(0)
            yield spool


@dataclass(slots=True, kw_only=True)
class TryContext:
    """One try's context; also what the heartbeat reads of it. ``now`` lines of the log are this machine's clock."""

    claim: Claim
    cancellation: Cancellation
    http: Egress
    files: Files
    idempotency_key: str
    provider: Provider
    openai_base_url: str | None
    veil: Veil
    resumed: Resumed | None = None
    fraction: float | None = None
    message: str = ""
    _log: list[dict[str, Any]] = field(default_factory=list)
    _logged: int = 0
    _usage: dict[str, Any] = field(default_factory=dict)

    def progress(self, fraction: float, message: str = "") -> None:
        """Remember how far the try is; the heartbeat writes it within a second."""
        if isfinite(fraction):
            self.fraction = min(max(fraction, 0.0), 1.0)
            self.message = self.veil.told.message(clean_json(str(message)))[:200]

    def log(self, message: str, *, level: Literal["debug", "info", "warning", "error"] = "info") -> None:
        """Add a line, up to 1,000 of together 256 Ki characters; the rest is left out, and the log says so."""
        message = self.veil.told.message(message)
        room = MAX_LOG_CHARACTERS - self._logged
        if len(self._log) >= MAX_LOG_LINES or room <= 0:
            return
        last = len(self._log) == MAX_LOG_LINES - 1 or len(message) >= room
        shown = f"{message[:room]} … (the log is full)" if last else message
        self._log.append({"at": rfc3339(datetime.now(UTC)), "level": level, "message": shown})
        self._logged += len(message)

    def usage(self, **amounts: Any) -> None:
        """Record amounts; numbers given twice add up."""
        for name, amount in amounts.items():
            before = self._usage.get(name)
            adds = type(amount) in (int, float) and type(before) in (int, float)
            self._usage[name] = before + amount if adds else amount

    def secret(self, name: str) -> str | None:
        """A secret by name; the provider's key is the execution's own first. Nothing the try leaves shows it."""
        if name == OPENAI_KEY:
            return self.provider.key
        found = secret_store.values_of([name])
        release_connection()
        self.veil.add(found.values())
        return found.get(name)

    def connection(self, name: str, kind: str) -> Mapping[str, Any]:
        """The settings of a named connection, defaults filled in. Raises ``TaskError``: none of that name and kind."""
        given = secret_store.connection_of(name, kind)
        release_connection()
        self.veil.add(connections.secret_values(kind, given))
        return connections.complete(kind, given)

    def workflow_inputs(self, workflow_id: str, version: int | None) -> Mapping[str, Any]:
        """What a workflow takes, as JSON Schema. Raises ``TaskError('validation')``: there is no such workflow."""
        schema = tools.schema_of(workflow_id, version)
        release_connection()
        return schema

    def notes(self) -> Notes:
        """What the try leaves besides its result."""
        return Notes(usage=dict(self._usage), log=tuple(self._log))


def context_for(claim: Claim) -> TryContext:
    """A fresh context, its deadline running from now."""
    cancellation = Cancellation(claim.timeout)
    http = egress().bound_to(cancellation)
    provider = _provider_of(claim)
    veil = Veil(claim.secrets)
    if provider.key and not provider.is_local_voice:
        veil.add([provider.key])
        remember([provider.key])
    return TryContext(
        claim=claim,
        cancellation=cancellation,
        http=http,
        files=TryFiles(claim=claim, http=http, veil=veil),
        idempotency_key=f"{claim.execution_id}/{claim.task}",
        provider=provider,
        openai_base_url=provider.base_url,
        veil=veil,
        resumed=None if claim.resumed is None else _resumed(claim.resumed),
    )


def _resumed(told: Mapping[str, Any]) -> Resumed:
    """How the child ended that the task waited for; one that could not be started has failed."""
    if "execution_id" not in told:
        return Resumed(state=told["state"], status="FAILED", outputs=None, error=told.get("error"))
    child = Execution.objects.only("status", "outputs", "stored", "error").get(pk=told["execution_id"])
    outputs = None if child.outputs is None else dict(files.LazyOutputs(child.outputs, child.stored))
    return Resumed(
        state=told["state"], status=child.status, outputs=outputs, error=child.error, execution_id=told["execution_id"]
    )


def _provider_of(claim: Claim) -> Provider:
    """The provider as this execution sees it; a type that uses no key gets none."""
    task_type = registry.get(claim.type)
    if task_type is None or OPENAI_KEY not in task_type.secrets:
        return Provider(base_url=None, key=None)
    return provider_for(own_secret(claim.execution_id, OPENAI_KEY))
