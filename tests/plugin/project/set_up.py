"""The shop's database and its active version, by the commands, in one process: python set_up.py CACHE ENSEMBLE."""

import os
import sys
from pathlib import Path

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

cache, ensemble = sys.argv[1:]
call_command("makemigrations", "ml_models", check=True, dry_run=True)  # ends the process where one is missing
call_command("migrate", verbosity=0)
call_command("check")
call_command("fetch_demo_pack", cache_dir=Path(cache))
call_command("load_ensemble", ensemble)
call_command("validate_config", "2")
call_command("activate_config", "2")
