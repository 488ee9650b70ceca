from typing import Any

from django.db import migrations, models


def to_condition(apps: Any, schema_editor: Any) -> None:
    """One member deciding alone behind a mask, by its cosine, is a condition without centres."""
    for config in apps.get_model('ml_models', 'EnsembleConfig').objects.exclude(cover=None):
        cover = config.cover
        thresholds = {name: cover[name] for name in ('threshold', 'review_threshold')}
        config.conditions = [
            {
                'name': 'covered',
                'directions': cover['directions'],
                'offset': cover['offset'],
                'centres': {},
                'members': {cover['voter']: {'a': cover['a'], 'b': cover['b']}},
                'voter_sets': {cover['voter']: {'a': 1.0, 'b': 0.0, 'trust': {}, **thresholds}},
            }
        ]
        config.save(update_fields=['conditions'])


class Migration(migrations.Migration):

    dependencies = [
        ('ml_models', '0011_cover'),
    ]

    operations = [
        migrations.AddField(
            model_name='ensembleconfig',
            name='conditions',
            field=models.JSONField(blank=True, default=list, help_text='For blurred or covered faces: what tells them, and what holds then; see engine.fuse.Condition.'),
        ),
        migrations.RunPython(to_condition, migrations.RunPython.noop),
        migrations.RemoveField(model_name='ensembleconfig', name='cover'),
    ]
