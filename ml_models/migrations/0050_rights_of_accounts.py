from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ml_models", "0049_eyes"),
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
                    ("make_account", "Make Account"),
                    ("change_account", "Change Account"),
                    ("delete_account", "Delete Account"),
                    ("give_rights", "Give Rights"),
                    ("take_rights", "Take Rights"),
                    ("rename_role", "Rename Role"),
                    ("delete_role", "Delete Role"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="identification",
            name="group",
            field=models.UUIDField(
                help_text="The group's key, as in audit events; empty for a list of subjects.", null=True
            ),
        ),
    ]
