"""The hot statements: take, accept, and save a step, for PostgreSQL and SQLite.

On PostgreSQL each is one statement, hence one round trip and one commit; task runs and events come as a JSON list. On
SQLite, which has no such statements, the parts are executed one by one in a transaction.
"""

from __future__ import annotations

#: What a step reads of an execution, in the order of ``rows.Row``.
ROW_COLUMNS = (
    "id", "workflow_id", "version_id", "workflow_version", "status", "inputs", "monitoring", "sequence", "revision",
    "created_at", "started_at", "resumed_at", "concurrency_key", "concurrency_limit", "parent_id", "parent_task",
    "depth", "takes",
)  # fmt: skip
#: What a step reads of its task runs: all but the large columns, which no decision needs.
STATE_COLUMNS = (
    "name", "item", "status", "attempt", "failures", "lost", "on_fallback", "repeatable", "timeout", "worker",
    "lease_until", "due_at", "started_at", "attempt_started_at", "completed_at", "error", "reason", "waiting", "child",
    "items",
)  # fmt: skip

#: Written with every change of a task run: their types for PostgreSQL.
_WRITTEN = {
    "status": "text", "attempt": "int", "failures": "int", "lost": "int", "on_fallback": "bool", "repeatable": "bool",
    "timeout": "float8", "worker": "text", "lease_until": "timestamptz", "due_at": "timestamptz",
    "started_at": "timestamptz", "attempt_started_at": "timestamptz", "completed_at": "timestamptz", "error": "text",
    "reason": "text", "waiting": "text", "child": "text", "items": "text",
}  # fmt: skip
#: Written where there is something new; empty text or NULL keeps what is there.
_KEPT_TEXT = ("type", "stored", "usage", "log", "progress_message")
_KEPT_NULL = ("inputs", "outputs")
_TASK_TYPES = (
    {"name": "text", "position": "int", "item": "int"}
    | _WRITTEN
    | dict.fromkeys((*_KEPT_TEXT, *_KEPT_NULL), "text")
    | {"progress": "float8"}
)
TASK_COLUMNS = tuple(_TASK_TYPES)
_UPDATES = ", ".join(
    (
        *(f"{name} = excluded.{name}" for name in _WRITTEN),
        *(f"{name} = CASE WHEN excluded.{name} = '' THEN run.{name} ELSE excluded.{name} END" for name in _KEPT_TEXT),
        *(f"{name} = COALESCE(excluded.{name}, run.{name})" for name in _KEPT_NULL),
        # A type is written with a claim, which begins with no progress.
        (
            "progress = CASE WHEN excluded.type = '' THEN COALESCE(excluded.progress, run.progress) "
            "ELSE excluded.progress END"
        ),
    )
)
_NAMES = ", ".join(TASK_COLUMNS)
_EVENT_TYPES = {
    "sequence": "int",
    "type": "text",
    "task": "text",
    "attempt": "int",
    "at": "timestamptz",
    "data": "text",
}
EVENT_COLUMNS = tuple(_EVENT_TYPES)


def _records(types: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in types.items())


_UPSERT_RUNS = f"INSERT INTO executions_taskrun AS run (execution_id, {_NAMES})"
_ON_CONFLICT = f"ON CONFLICT (execution_id, name) DO UPDATE SET {_UPDATES}"
#: What a step changes of an execution, with its types for PostgreSQL; ``revision`` is what it was read with.
_STEP_TYPES = {
    "id": "text", "revision": "int", "status": "text", "sequence": "int", "wake_at": "timestamptz",
    "started_at": "timestamptz", "completed_at": "timestamptz", "error": "text", "outputs": "text", "stored": "text",
    "ended": "bool", "held": "bool", "follows": "bool",
}  # fmt: skip
_CHANGES = (
    "status = {0}status, sequence = {0}sequence, revision = {1}revision + 1, "
    "takes = CASE WHEN {0}held THEN 1 ELSE 0 END, wake_at = {2}, "
    "started_at = {0}started_at, completed_at = {0}completed_at, error = {0}error, outputs = {0}outputs, "
    "stored = {0}stored, secrets = CASE WHEN {0}ended THEN '' ELSE {1}secrets END"
)
#: As long as the look that a step in hand puts off is far enough away, it stays: no index has to be written.
_WAKE_AT = (
    "CASE WHEN step.held AND e.wake_at BETWEEN step.wake_at - interval '8 seconds' AND step.wake_at "
    "THEN e.wake_at ELSE step.wake_at END"
)
#: What the session's last save wrote. One that was sent after another without knowing what became of it (``follows``)
#: holds only if that one did: a revision alone could have been reached by somebody else's change.
_LAST = "dataflow.saved"
_FOLLOWS = f"step.id || '@' || step.revision = ANY (string_to_array(current_setting('{_LAST}', true), ' '))"
#: Steps of several executions; those that somebody else changed meanwhile are left out of the answer.
SAVE_POSTGRESQL = f"""
WITH step AS MATERIALIZED (
  SELECT * FROM json_to_recordset(%(steps)s::json) AS s ({_records(_STEP_TYPES)}, channels text[])
), saved AS (
  UPDATE executions_execution AS e SET {_CHANGES.format("step.", "e.", _WAKE_AT)}
  FROM step WHERE e.id = step.id AND e.revision = step.revision AND (NOT step.follows OR {_FOLLOWS})
  RETURNING e.id, e.revision
), runs AS (
  {_UPSERT_RUNS}
  SELECT r.* FROM saved JOIN json_to_recordset(%(runs)s::json) AS r (execution_id text, {_records(_TASK_TYPES)})
    ON r.execution_id = saved.id
  {_ON_CONFLICT}
), log AS (
  INSERT INTO executions_event (execution_id, {", ".join(EVENT_COLUMNS)})
  SELECT r.* FROM saved JOIN json_to_recordset(%(events)s::json) AS r (execution_id text, {_records(_EVENT_TYPES)})
    ON r.execution_id = saved.id
), told AS (
  SELECT pg_notify(channel, step.id)::text AS x FROM saved JOIN step USING (id), unnest(step.channels) AS channel
)
SELECT saved.id, clock_timestamp(), (SELECT count(x) FROM told), noted.is_so
FROM (
  SELECT set_config('{_LAST}', coalesce((SELECT string_agg(id || '@' || revision, ' ') FROM saved), ''), false)
    IS NOT NULL AS is_so
) AS noted LEFT JOIN saved ON true
"""  # noqa: S608 - made of constants only
SAVE_SQLITE = f"""
UPDATE executions_execution SET {_CHANGES.format(":", "", ":wake_at")} WHERE id = :id AND revision = :revision
"""  # noqa: S608 - made of constants only
SAVE_RUN_SQLITE = f"""
{_UPSERT_RUNS} VALUES (:execution_id, {", ".join(f":{name}" for name in TASK_COLUMNS)}) {_ON_CONFLICT}
"""
SAVE_EVENT_SQLITE = f"""
INSERT INTO executions_event (execution_id, {", ".join(EVENT_COLUMNS)})
VALUES (:execution_id, {", ".join(f":{name}" for name in EVENT_COLUMNS)})
"""  # noqa: S608 - made of constants only

#: How often an execution was taken since somebody wrote a step of it, as far as is counted: who holds it has taken it.
MAX_TAKES = 1000
_ROW = ", ".join(f"e.{name}" for name in ROW_COLUMNS)
_DUE_RUNNING = "status = 'RUNNING' AND wake_at <= {now} ORDER BY wake_at"
_DUE_PENDING = "status = 'PENDING' AND wake_at IS NOT NULL AND wake_at <= {now} ORDER BY priority DESC, pick_at"
#: Set where nobody waits for the disk. Whatever is flushed later brings what was committed before onto the disk.
_UNFLUSHED = "set_config('synchronous_commit', 'off', true)"
#: What runs goes on before anything new begins; among the new ones see ``accepting.create``. Unflushed: what a crash
#: of the server forgets is due again.
TAKE_POSTGRESQL = f"""
WITH going AS (
  SELECT id FROM executions_execution WHERE {_DUE_RUNNING.format(now="now()")} LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), new AS (
  SELECT id FROM executions_execution WHERE {_DUE_PENDING.format(now="now()")}
  LIMIT GREATEST(0, %(limit)s - (SELECT count(*) FROM going)) FOR UPDATE SKIP LOCKED
), taken AS (
  SELECT id, row_number() OVER () AS place FROM (SELECT id FROM going UNION ALL SELECT id FROM new) AS found
)
UPDATE executions_execution e
SET takes = LEAST(e.takes + 1, {MAX_TAKES}), wake_at = clock_timestamp() + %(again)s * interval '1 second'
FROM taken, (SELECT {_UNFLUSHED}) AS unflushed
WHERE e.id = taken.id RETURNING taken.place, {_ROW}, clock_timestamp()
"""  # noqa: S608 - made of constants only
#: SQLite's clock as Django writes it; a parameter cannot be computed there.
SQLITE_NOW = "REPLACE(STRFTIME('%Y-%m-%d %H:%M:%f000', 'NOW'), '.000000', '')"
SQLITE_IN_SECONDS = "REPLACE(STRFTIME('%Y-%m-%d %H:%M:%f000', 'NOW', '+' || {} || ' seconds'), '.000000', '')"
FIND_DUE_SQLITE = f"""
SELECT id FROM (SELECT id FROM executions_execution WHERE {_DUE_RUNNING.format(now=SQLITE_NOW)} LIMIT :limit)
UNION ALL
SELECT id FROM (SELECT id FROM executions_execution WHERE {_DUE_PENDING.format(now=SQLITE_NOW)} LIMIT :limit)
LIMIT :limit
"""  # noqa: S608 - made of constants only
TAKE_SQLITE = f"""
UPDATE executions_execution AS e
SET takes = MIN(takes + 1, {MAX_TAKES}),
  wake_at = {SQLITE_IN_SECONDS.format(":again")}
WHERE id = :id AND status IN ('PENDING', 'RUNNING') AND wake_at <= {SQLITE_NOW}
RETURNING {", ".join(ROW_COLUMNS)}, STRFTIME('%Y-%m-%dT%H:%M:%f+00:00', 'NOW')
"""  # noqa: S608 - made of constants only
#: In one order, and past what a step has locked: two that wait for each other would both lose time.
RENEW_POSTGRESQL = """
WITH mine AS MATERIALIZED (
  SELECT id FROM executions_taskrun WHERE id = ANY(%(runs)s::bigint[]) AND worker = %(worker)s AND status = 'RUNNING'
  ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE executions_taskrun AS run SET lease_until = clock_timestamp() + %(seconds)s * interval '1 second'
FROM mine WHERE run.id = mine.id
"""
RENEW_SQLITE = f"""
UPDATE executions_taskrun SET lease_until = {SQLITE_IN_SECONDS.format(":seconds")}
WHERE id IN (SELECT value FROM json_each(:runs)) AND worker = :worker AND status = 'RUNNING'
"""  # noqa: S608 - made of constants only
#: Seconds until something is due.
NEXT_DUE_POSTGRESQL = """
SELECT EXTRACT(EPOCH FROM LEAST(
  (SELECT min(wake_at) FROM executions_execution WHERE status = 'RUNNING'),
  (SELECT min(wake_at) FROM executions_execution WHERE status = 'PENDING' AND wake_at IS NOT NULL)) - now())::float8
"""
NEXT_DUE_SQLITE = """
SELECT (julianday(MIN(wake_at)) - julianday('now')) * 86400.0 FROM (
  SELECT min(wake_at) AS wake_at FROM executions_execution WHERE status = 'RUNNING'
  UNION ALL
  SELECT min(wake_at) FROM executions_execution WHERE status = 'PENDING' AND wake_at IS NOT NULL)
"""

#: What an accepted execution is made of; times follow from the database's clock.
ACCEPTED_COLUMNS = (
    "id", "workflow_id", "version_id", "workflow_version", "title", "status", "inputs", "outputs", "stored", "error",
    "labels", "monitoring", "secrets", "webhook_secret", "trigger", "trigger_ref", "created_by_id", "sequence",
    "revision", "takes", "priority", "concurrency_key", "concurrency_limit", "parent_id", "parent_task", "depth",
    "rerun_of_id", "start_at",
)  # fmt: skip
#: An execution counts as arrived later by a second for each of its workflow that waits for a worker before it, up to so
#: many. Those that are to begin later, or wait for a slot, are in nobody's way.
MAX_RANK = 1000
_QUEUED = "SELECT 1 FROM executions_execution WHERE workflow_id = {id} AND status = 'PENDING' AND wake_at <= {now}"
_RANK = f"(SELECT count(*) FROM ({_QUEUED} LIMIT {MAX_RANK}) AS queued)"  # noqa: S608 - made of constants only
_RANK_AT_CLOCK = _RANK.format(id="%(workflow_id)s::text", now="clock.at")
_ACCEPTED = ", ".join(ACCEPTED_COLUMNS)
#: A parameter that stands in two places has one type.
_TWICE = {"id": "::text", "workflow_id": "::text"}
#: For a workflow that was only remembered (``known_version`` is not 0): its row, as this statement sees it, must still
#: be so. One that is archived at the same moment is seen before or after, as by a start that reads it first.
_STILL_SO = (
    "EXISTS (SELECT 1 FROM workflows_workflow WHERE id = %(workflow_id)s::text AND archived_at IS NULL "
    "AND current_version = %(known_version)s::int)"
)
ACCEPT_POSTGRESQL = f"""
WITH clock AS (SELECT clock_timestamp() AS at), accepted AS (
  INSERT INTO executions_execution ({_ACCEPTED}, created_at, wake_at, pick_at)
  SELECT {", ".join(f"%({name})s{_TWICE.get(name, '')}" for name in ACCEPTED_COLUMNS)}, clock.at,
    COALESCE(%(wake_at)s::timestamptz, clock.at),
    COALESCE(%(wake_at)s::timestamptz, clock.at + {_RANK_AT_CLOCK} * interval '1 second')
  FROM clock, (SELECT CASE WHEN NOT %(flushed)s::bool THEN {_UNFLUSHED} END) AS flush
  WHERE %(known_version)s::int = 0 OR {_STILL_SO} RETURNING id, created_at, wake_at, pick_at
), log AS (
  INSERT INTO executions_event (execution_id, sequence, type, task, attempt, at, data)
  SELECT id, 1, 'execution.created', '', 0, created_at, '{{}}' FROM accepted
), told AS (
  SELECT pg_notify(channel, %(id)s::text)::text AS x FROM accepted, unnest(%(channels)s::text[]) AS channel
)
SELECT created_at, wake_at, pick_at, (SELECT count(x) FROM told) FROM accepted
"""  # noqa: S608 - made of constants only
#: Commits a record that changes nothing, and waits for the disk.
FLUSH_POSTGRESQL = "SELECT pg_logical_emit_message(true, 'dataflow.flush', '')::text"
COUNT_RANK = f"SELECT {_RANK.format(id='?', now=SQLITE_NOW)}"
