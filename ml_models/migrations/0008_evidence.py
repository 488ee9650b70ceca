from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ml_models", "0007_rollout_robustness"),
    ]

    operations = [
        migrations.AddField(
            model_name="configstep",
            name="overrides_evidence",
            field=models.BooleanField(default=False, help_text="A superuser answers for missing evidence."),
        ),
        migrations.AddField(
            model_name="evaluationreport",
            name="draws",
            field=models.JSONField(
                default=dict, help_text="the same people drawn for every version: for comparing two"
            ),
        ),
        migrations.AddField(
            model_name="evaluationreport",
            name="list_digest",
            field=models.CharField(blank=True, db_index=True, help_text="of what it was measured on", max_length=64),
        ),
        migrations.AddField(
            model_name="evaluationreport",
            name="measured_on",
            field=models.JSONField(default=dict, help_text="lists by name, subjects as hashes, whom they show"),
        ),
        migrations.AlterField(
            model_name="evaluationreport",
            name="created_at",
            field=models.DateTimeField(auto_now=True),
        ),
        migrations.AlterField(
            model_name="evaluationreport",
            name="digest",
            field=models.CharField(db_index=True, help_text="of what the version decided with", max_length=64),
        ),
    ]
