import django.db.models.functions.datetime
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0030_identification'),
    ]

    operations = [
        migrations.CreateModel(
            name='Challenge',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('binding', models.CharField(help_text='Keyed hash of caller, purpose and claim; the key is the nonce.', max_length=64)),
                ('steps', models.JSONField()),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), db_index=True, editable=False)),
                ('expires_at', models.DateTimeField()),
                ('used_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.AlterModelOptions(
            name='subject',
            options={'permissions': [('enroll_subject', 'Can enroll any subject'), ('verify_subject', 'Can verify any subject'), ('identify_subject', 'Can identify among any subjects'), ('read_subject', "Can read any subject's enrolment"), ('erase_subject', 'Can erase any subject'), ('release_subject', 'Can lift the lock of any subject'), ('exempt_subject', 'Can say that a subject cannot turn the head')]},
        ),
        migrations.AddField(
            model_name='subject',
            name='cannot_turn',
            field=models.BooleanField(db_default=False, default=False, help_text='Cannot turn the head: challenges ask for none, and somebody on the spot decides.'),
        ),
        migrations.AddField(
            model_name='verification',
            name='liveness',
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict, help_text="live, reasons' codes, steps, the attack detector's score; empty where nobody looked."),
        ),
        migrations.AlterField(
            model_name='auditevent',
            name='kind',
            field=models.CharField(choices=[('enroll', 'Enroll'), ('override', 'Override'), ('verify', 'Verify'), ('erase_subject', 'Erase Subject'), ('erase_reference', 'Erase Reference'), ('release', 'Release'), ('identify', 'Identify'), ('exempt', 'Exempt'), ('write_group', 'Write Group'), ('erase_group', 'Erase Group'), ('rotate_keys', 'Rotate Keys'), ('open_rollout', 'Open Rollout'), ('activate', 'Activate')], max_length=20),
        ),
    ]
