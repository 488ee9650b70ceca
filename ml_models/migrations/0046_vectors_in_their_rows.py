from django.db import migrations


class Migration(migrations.Migration):
    # a vector of 512 numbers is a little longer than what PostgreSQL keeps in a row by itself, and a search reads
    # thousands; rows that are there keep theirs beside until they are written anew
    dependencies = [
        ("ml_models", "0045_placed_artifacts"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE ml_models_embedding SET (toast_tuple_target = 4080)",
            "ALTER TABLE ml_models_embedding RESET (toast_tuple_target)",
        ),
    ]
