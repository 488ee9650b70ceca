from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0022_guessing'),
    ]

    operations = [
        migrations.AddField(
            model_name='servingprocess',
            name='engines',
            field=models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict, help_text='what runs each network, by artifact name'),
        ),
    ]
