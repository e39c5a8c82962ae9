# One stored content for all files that have it, and which execution needs which file.

import re
from typing import Any

import django.db.models.deletion
from django.db import migrations, models

import dataflow.lib.fields

BATCH = 500
NAMED = re.compile(r"fl-[a-z0-9]{4,37}")
#: Where the ids of files may stand: whose it is, and what.
PLACES = (
    "SELECT id, inputs FROM executions_execution WHERE inputs LIKE '%fl-%'",
    "SELECT execution_id, outputs FROM executions_taskrun WHERE outputs LIKE '%fl-%'",
    "SELECT execution_id, stored FROM executions_taskrun WHERE stored LIKE '%fl-%'",
)


def keep_contents(apps: Any, _: Any) -> None:
    """Every content that is there, where it is. Of several with the same bytes one is taken; the others go later."""
    blob, files = apps.get_model("executions", "Blob"), apps.get_model("executions", "StoredFile").objects
    batch = []
    for sha256, size, name in files.order_by("pk").values_list("sha256", "size", "content").iterator(chunk_size=BATCH):
        batch.append(blob(sha256=sha256, size=size, name=name))
        if len(batch) == BATCH:
            blob.objects.bulk_create(batch, ignore_conflicts=True)
            batch = []
    blob.objects.bulk_create(batch, ignore_conflicts=True)


def note_uses(apps: Any, schema_editor: Any) -> None:
    """Whatever files the inputs and the results of an execution name, it needs."""
    for statement in PLACES:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(statement)
            while rows := cursor.fetchmany(BATCH):
                note(apps, rows)


def note(apps: Any, rows: Any) -> None:
    files, uses = apps.get_model("executions", "StoredFile"), apps.get_model("executions", "FileUse")
    wanted = {(file_id, execution) for execution, text in rows for file_id in NAMED.findall(text)}
    ids, makers = sorted({file_id for file_id, _ in wanted}), {}
    for place in range(0, len(ids), BATCH):
        found = files.objects.filter(pk__in=ids[place : place + BATCH]).order_by()
        makers |= dict(found.values_list("pk", "execution_id"))
    needed = [
        uses(file_id=file_id, execution_id=execution)
        for file_id, execution in sorted(wanted)
        if file_id in makers and makers[file_id] != execution
    ]
    uses.objects.bulk_create(needed, ignore_conflicts=True, batch_size=BATCH)


class Migration(migrations.Migration):
    dependencies = [("executions", "0005_secrets")]

    operations = [
        migrations.CreateModel(
            name="Blob",
            fields=[
                ("sha256", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("size", models.PositiveBigIntegerField()),
                ("name", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(db_default=dataflow.lib.fields.DatabaseNow())),
                ("used_at", models.DateTimeField(db_default=dataflow.lib.fields.DatabaseNow())),
            ],
            options={"verbose_name": "content"},
        ),
        migrations.AddConstraint(
            model_name="blob",
            constraint=models.UniqueConstraint(fields=("name",), name="blob_place_once"),
        ),
        migrations.CreateModel(
            name="FileUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "execution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="uses",
                        to="executions.execution",
                    ),
                ),
                (
                    "file",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="uses",
                        to="executions.storedfile",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="fileuse",
            constraint=models.UniqueConstraint(fields=("file", "execution"), name="file_use_once"),
        ),
        migrations.RunPython(keep_contents, migrations.RunPython.noop),
        migrations.RunPython(note_uses, migrations.RunPython.noop),
        # The column of the digest becomes a reference; it keeps its name and what is in it.
        migrations.RenameField(model_name="storedfile", old_name="sha256", new_name="blob"),
        migrations.AlterField(
            model_name="storedfile",
            name="blob",
            field=models.ForeignKey(
                db_column="sha256",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="files",
                to="executions.blob",
            ),
        ),
        migrations.RemoveField(model_name="storedfile", name="content"),
        migrations.AddIndex(
            model_name="storedfile",
            index=models.Index(
                condition=models.Q(("execution__isnull", True)), fields=["created_at"], name="file_uploaded"
            ),
        ),
    ]
