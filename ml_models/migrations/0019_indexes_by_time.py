from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Stopped in the middle, drop what `\\d` shows as INVALID and migrate again."""

    atomic = False  # an index that is made beside writes is made outside a transaction

    dependencies = [
        ('ml_models', '0018_digests_said_once'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='subject',
            index=models.Index(fields=['created_at'], name='subject_created_at'),
        ),
        AddIndexConcurrently(
            model_name='reference',
            index=models.Index(fields=['captured_at'], name='reference_captured_at'),
        ),
        AddIndexConcurrently(
            model_name='erasure',
            index=models.Index(fields=['at'], name='erasure_at'),
        ),
        AddIndexConcurrently(
            model_name='shadowscore',
            index=models.Index(fields=['at'], name='shadow_score_at'),
        ),
    ]
