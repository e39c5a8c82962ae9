"""``s3.put``: a file into a bucket."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import s3
from tasks_lib.connections import complete, guarded


class S3Put(TaskType):
    """Stores a file in the bucket that a connection names. Done twice it stores the same."""

    name = "s3.put"
    title = "Put a file into S3"
    category = "integrations"
    description = (
        "Stores a file in a bucket of S3, or of a store that speaks its protocol. What has the key already is replaced."
    )
    inputs = (
        Field(name="connection", type="text", required=True, description="Name of the connection", example="main"),
        Field(
            name="key",
            type="text",
            required=True,
            description="Key of the object, below the connection's prefix",
            example="reports/june.csv",
        ),
        Field(name="file", type="file", required=True, description="What to store"),
        Field(name="content_type", type="text", max_length=200, description="Media type; the file's own without it"),
        Field(name="metadata", type="object", default={}, description="Texts to store with it", example={"by": "flow"}),
    )
    outputs = (
        Field(name="key", type="text", description="Key of the object", example="reports/june.csv"),
        Field(name="size", type="number", description="Bytes", example=1024),
        Field(name="etag", type="text", description="The store's mark of this content"),
    )
    timeout = 1800.0
    retried = ("communication", "rate_limited", "timeout", "provider_error")
    modules = ("boto3",)
    extra = "s3"
    example = {"connection": "main", "key": "hello.txt", "file": "fl-sample0csv"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Store the file. Raises ``TaskError``."""
        settings = complete("s3", context.connection(inputs["connection"], "s3"))
        metadata = s3.checked_metadata(inputs["metadata"] or {})
        given = inputs["file"]
        kind = str(inputs["content_type"] or given.get("content_type") or "application/octet-stream")
        with (
            guarded("s3", settings),
            context.files.open(given) as content,
            s3.opened(settings, context.cancellation) as bucket,
        ):
            stored = bucket.write(inputs["key"], content, kind, metadata)
        return {"key": stored.key, "size": stored.size, "etag": stored.etag}
