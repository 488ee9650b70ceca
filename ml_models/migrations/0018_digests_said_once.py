from django.db import migrations, models


class Migration(migrations.Migration):
    """An audit row names its version, which cannot change and names its files: their digests need no second place.

    From here on the code knows no `artifacts`. The column stays while processes of the release before may write it, with
    a default for the others; the release after this one drops it:
    migrations.RunSQL('ALTER TABLE ml_models_verification DROP COLUMN artifacts')
    """

    dependencies = [
        ('ml_models', '0017_reference_tombstones'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.AlterField(
                    model_name='verification',
                    name='artifacts',
                    field=models.JSONField(default=dict, db_default=models.Value({}, models.JSONField())),
                ),
            ],
            state_operations=[
                migrations.RemoveField(model_name='verification', name='artifacts'),
            ],
        ),
    ]
