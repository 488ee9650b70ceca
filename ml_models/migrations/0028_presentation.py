import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0027_groups'),
    ]

    operations = [
        migrations.AddField(
            model_name='ensembleconfig',
            name='liveness',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text="passive: calibration and threshold of the attack detector; turned: a turned head's; see engine.presentation and engine.challenge."),
        ),
        migrations.AddField(
            model_name='ensembleconfig',
            name='presentation',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='ml_models.artifact'),
        ),
        migrations.AlterField(
            model_name='artifact',
            name='golden',
            field=models.BinaryField(blank=True, help_text="float32, little-endian, (2, dimension): embeddings, or an attack detector's logits", null=True),
        ),
        migrations.AlterField(
            model_name='artifact',
            name='kind',
            field=models.CharField(choices=[('embedder', 'Embedder'), ('detector', 'Detector'), ('presentation', 'Presentation')], max_length=20),
        ),
    ]
