from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0016_database_clock'),
    ]

    operations = [
        migrations.AddField(
            model_name='erasure',
            name='reference_hash',
            field=models.CharField(blank=True, db_default='', default='', help_text='keyed hash of the id of the one that went', max_length=64),
        ),
        migrations.AlterField(
            model_name='erasure',
            name='subject_hash',
            field=models.CharField(blank=True, db_index=True, help_text='keyed hash of subject_id; empty where one reference went', max_length=64),
        ),
    ]
