"""A worker tells how many tries it has in hand: it names only the first of them."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """With a default in the database: workers of before do not know the column."""

    dependencies = [("executions", "0010_start_at")]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="busy",
            field=models.PositiveIntegerField(default=0, db_default=0),
        ),
    ]
