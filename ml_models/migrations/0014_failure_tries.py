from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0013_end_warmth'),
    ]

    operations = [
        migrations.AddField(
            model_name='rolloutfailure',
            name='tries',
            field=models.PositiveSmallIntegerField(default=1, help_text='How often it was tried.'),
        ),
        migrations.AlterField(
            model_name='rolloutfailure',
            name='at',
            field=models.DateTimeField(auto_now_add=True, help_text='The last try.'),
        ),
    ]
