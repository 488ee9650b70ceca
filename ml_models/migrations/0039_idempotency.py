import django.core.serializers.json
import django.db.models.functions.datetime
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0038_fitted_weights'),
    ]

    operations = [
        migrations.CreateModel(
            name='KeptAnswer',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('key_hash', models.CharField(help_text='Of caller, call and the key they sent.', max_length=64, unique=True)),
                ('body_hash', models.CharField(help_text='Of the same and the body.', max_length=64)),
                ('subject_hash', models.CharField(db_index=True, help_text="Of the host's id, for its erasure.", max_length=64)),
                ('answer', models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, help_text="Ids, decision, quality, or a problem: no score, no host's id.", null=True)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('expires_at', models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.AddField(
            model_name='challenge',
            name='used_by',
            field=models.CharField(blank=True, db_default='', default='', help_text='The one request that may answer again: its hash.', max_length=64),
        ),
    ]
