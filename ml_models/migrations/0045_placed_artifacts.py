import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0044_least_privilege'),
    ]

    operations = [
        migrations.CreateModel(
            name='PlacedArtifact',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('place', models.CharField(help_text='One of EnsembleConfig.SEVERAL.', max_length=20)),
                ('artifact', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='ml_models.artifact')),
                ('config', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='placements', to='ml_models.ensembleconfig')),
            ],
            options={
                'ordering': ['artifact__name'],
                'constraints': [models.UniqueConstraint(fields=('config', 'place', 'artifact'), name='placed_once_in_a_version')],
            },
        ),
    ]
