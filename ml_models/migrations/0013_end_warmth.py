from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0012_conditions'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='ensembleconfig',
            options={'ordering': ['-version'], 'permissions': [('validate_config', 'Can validate a version'), ('activate_config', 'Can activate a version'), ('rollback_config', 'Can roll back to the version before'), ('discard_config', 'Can discard a validated version'), ('end_warmth', "Can end a retired version's warmth, and the way back to it")], 'verbose_name': 'version'},
        ),
    ]
