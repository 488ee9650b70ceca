from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ml_models", "0046_vectors_in_their_rows"),
    ]

    operations = [
        migrations.AlterField(
            model_name="auditevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("enroll", "Enroll"),
                    ("override", "Override"),
                    ("verify", "Verify"),
                    ("erase_subject", "Erase Subject"),
                    ("erase_reference", "Erase Reference"),
                    ("release", "Release"),
                    ("identify", "Identify"),
                    ("exempt", "Exempt"),
                    ("write_group", "Write Group"),
                    ("erase_group", "Erase Group"),
                    ("rotate_keys", "Rotate Keys"),
                    ("open_rollout", "Open Rollout"),
                    ("activate", "Activate"),
                    ("make_key", "Make Key"),
                    ("revoke_key", "Revoke Key"),
                    ("delete_key", "Delete Key"),
                ],
                max_length=20,
            ),
        ),
    ]
