import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    """Enrolments and erasures are dated by the one clock that all processes share."""

    dependencies = [
        ('ml_models', '0015_verification_condition'),
    ]

    operations = [
        migrations.AlterField(
            model_name='subject',
            name='created_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
        ),
        migrations.AlterField(
            model_name='reference',
            name='captured_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
        ),
        migrations.AlterField(
            model_name='erasure',
            name='at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
        ),
    ]
