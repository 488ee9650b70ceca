from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Stopped in the middle, drop what `\\d` shows as INVALID and migrate again."""

    atomic = False  # an index that is made beside writes is made outside a transaction

    dependencies = [
        ('ml_models', '0028_presentation'),
    ]

    operations = [
        migrations.CreateModel(
            name='JobRun',
            fields=[
                ('name', models.CharField(max_length=50, primary_key=True, serialize=False)),
                ('ran_at', models.DateTimeField()),
            ],
        ),
        AddIndexConcurrently(
            model_name='subject',
            index=models.Index(condition=models.Q(('locked_until__isnull', False)), fields=['locked_until'], name='subject_locked_until'),
        ),
    ]
