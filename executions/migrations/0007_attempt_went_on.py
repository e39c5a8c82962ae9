# A try that did its part and left the rest to a later one is told from one that was stopped.

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("executions", "0006_files")]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="went_on",
            field=models.BooleanField(default=False, db_default=False),
        ),
    ]
