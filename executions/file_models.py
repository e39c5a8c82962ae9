"""Files: what a caller gave or a task made, the content they share, and who needs them."""

from __future__ import annotations

from typing import Any

from django.db import models

from dataflow.lib.fields import DatabaseNow, JsonField
from dataflow.lib.ids import new_id


def new_file_id() -> str:
    """A new ``fl-…`` id."""
    return new_id("fl")


class Blob(models.Model):
    """One content in the storage, however many files have it. Only ``executions/blobs.py`` changes these."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    size = models.PositiveBigIntegerField()
    #: Its place in the storage. Of its own, not made of the content: what is deleted can never be what comes anew.
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=DatabaseNow())
    #: When a file with this content was last made.
    used_at = models.DateTimeField(db_default=DatabaseNow())

    class Meta:
        """Each in its own place."""

        verbose_name = "content"
        constraints = [models.UniqueConstraint(fields=["name"], name="blob_place_once")]

    def __str__(self) -> str:
        return self.sha256


class StoredFile(models.Model):
    """A file given by a caller or made by a task. Its name is data, never a path."""

    id = models.CharField(primary_key=True, max_length=40, default=new_file_id, editable=False)
    name = models.CharField(max_length=255)
    #: What the content is (``dataflow.lib.sniffing``), not what somebody said.
    content_type = models.CharField(max_length=255)
    size = models.PositiveBigIntegerField()
    # Never without its content: the database refuses to delete one that a file has, and a file without one.
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="files", db_column="sha256")
    metadata = JsonField(default=dict)
    #: The execution that made it or fetched it; None for an upload, and once that execution is forgotten.
    execution = models.ForeignKey(
        "executions.Execution", null=True, blank=True, on_delete=models.SET_NULL, related_name="files"
    )
    task = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(db_default=DatabaseNow())

    class Meta:
        """Newest first; an index on those that nobody made here, which are forgotten by their age."""

        ordering = ["-created_at", "-id"]
        verbose_name = "file"
        indexes = [
            models.Index(fields=["created_at"], name="file_uploaded", condition=models.Q(execution__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the content."""
        return self.blob_id

    def as_value(self) -> dict[str, Any]:
        """The ``file`` value that workflows pass on (1-definition.md, Types)."""
        return {
            "file_id": self.id,
            "name": self.name,
            "content_type": self.content_type,
            "size": self.size,
            "sha256": self.sha256,
            "url": f"/files/{self.id}/content",
        }


class FileUse(models.Model):
    """That an execution needs a file which it did not make: one of its inputs, or of results it took over."""

    file = models.ForeignKey(StoredFile, on_delete=models.CASCADE, related_name="uses", db_index=False)
    execution = models.ForeignKey("executions.Execution", on_delete=models.CASCADE, related_name="uses")

    class Meta:
        """Said once."""

        constraints = [models.UniqueConstraint(fields=["file", "execution"], name="file_use_once")]

    def __str__(self) -> str:
        return f"{self.file_id} in {self.execution_id}"
