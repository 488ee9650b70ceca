from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0030_guessing'),
    ]

    operations = [
        migrations.AddField(
            model_name='servingprocess',
            name='engines',
            field=models.JSONField(default=dict, help_text='what runs each network, by artifact name'),
        ),
    ]
