from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ml_models", "0005_constraints"),
    ]

    operations = [
        migrations.AddField(
            model_name="ensembleconfig",
            name="calibrated_on",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="lists: names of the pair lists; subjects: hashes of whom they show, see evaluation.pairs.",
            ),
        ),
    ]
