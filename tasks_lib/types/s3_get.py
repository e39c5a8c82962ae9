"""``s3.get``: a file from a bucket."""

from __future__ import annotations

from collections.abc import Mapping

from tasks_lib import file_values
from tasks_lib.base import Field, JsonValue, TaskContext, TaskType
from tasks_lib.clients import s3
from tasks_lib.connections import complete, guarded


class S3Get(TaskType):
    """Fetches an object of the bucket that a connection names."""

    name = "s3.get"
    title = "Get a file from S3"
    category = "integrations"
    description = "Fetches an object from a bucket of S3, or of a store that speaks its protocol, as a file."
    inputs = (
        Field(name="connection", type="text", required=True, description="Name of the connection", example="main"),
        Field(
            name="key",
            type="text",
            required=True,
            description="Key of the object, below the connection's prefix",
            example="reports/june.csv",
        ),
    )
    outputs = (
        Field(name="file", type="file", description="The content"),
        Field(name="content_type", type="text", description="Media type as the store has it", example="text/csv"),
        Field(name="size", type="number", description="Bytes", example=1024),
        Field(name="etag", type="text", description="The store's mark of this content"),
        Field(name="last_modified", type="text", description="When it was stored, RFC 3339"),
        Field(name="metadata", type="object", description="Metadata that it was stored with"),
    )
    timeout = 1800.0
    retried = ("communication", "rate_limited", "timeout", "provider_error")
    modules = ("boto3",)
    extra = "s3"
    example = {"connection": "main", "key": "hello.txt"}

    def run(self, context: TaskContext, **inputs: JsonValue) -> Mapping[str, JsonValue]:
        """Fetch the object. Raises ``TaskError``: ``validation`` where there is none."""
        settings = complete("s3", context.connection(inputs["connection"], "s3"))
        with (
            guarded("s3", settings),
            s3.opened(settings, context.cancellation) as bucket,
            bucket.reading(inputs["key"]) as (stored, chunks),
        ):
            name = file_values.name_of({"name": inputs["key"]}, "object")
            done = 0
            with context.files.create(name, stored.content_type) as file:
                for chunk in chunks:
                    file.write(chunk)
                    done += len(chunk)
                    context.progress(min(1.0, done / (stored.size or 1)))
        return {
            "file": file.value,
            "content_type": stored.content_type,
            "size": done,
            "etag": stored.etag,
            "last_modified": stored.last_modified,
            "metadata": dict(stored.metadata),
        }
