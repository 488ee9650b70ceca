import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0041_duplicate_searches'),
    ]

    operations = [
        migrations.CreateModel(
            name='PresentationReport',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.CharField(db_index=True, help_text='of what the version looks for attacks with', max_length=64)),
                ('manifest_digest', models.CharField(help_text='of what it was shown', max_length=64)),
                ('data', models.JSONField()),
                ('created_at', models.DateTimeField(auto_now=True)),
                ('config', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='presentation_reports', to='ml_models.ensembleconfig')),
            ],
            options={
                'ordering': ['-created_at'],
                'constraints': [models.UniqueConstraint(fields=('config', 'digest', 'manifest_digest'), name='presentation_report_once')],
            },
        ),
    ]
