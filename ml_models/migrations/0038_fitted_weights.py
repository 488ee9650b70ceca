from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ml_models", "0031_challenges")]

    operations = [
        migrations.AlterField(
            model_name="ensembleconfig",
            name="calibrated_on",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="lists: names of the pair lists; subjects: hashes of whom they show, see evaluation.lists.pairs; weights: the members' by name, that the thresholds were fitted for.",
            ),
        ),
    ]
