"""Everything that Django has to do before the servers start, in one process: its start-up costs a second.

Run by the stack with the services' environment. Every step can be run again and then does nothing.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import StringIO
from typing import Any

import django
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError

from devstack import bucket
from devstack.processes import StackError
from devstack.services import create_bucket
from devstack.state import ROOT, State, say, write_private

ENSEMBLES = [ROOT / "config" / "ensembles" / f"v{version}.yaml" for version in (1, 2, 5, 10)]
FIRST_ACTIVE = 10


def main() -> int:
    state = State.default()
    try:
        prepare(state)
    except (CommandError, StackError) as error:
        say(f"✗ {error}")
        return 1
    return 0


def prepare(state: State) -> None:
    django.setup()
    with step("bring the database up to date"):
        call_command("migrate", interactive=False, verbosity=0)
    with step("collect the static files"):
        call_command("collectstatic", interactive=False, verbosity=0)
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        name = os.environ["ML_MODELS_BUCKET"]
        create_bucket(emulator, name)
        bucket.repin(emulator, name, state.path / "bucket")
    with step("fetch, convert and publish the demo model pack (up to a minute the first time)"):
        call_command("fetch_demo_pack", stdout=sys.stderr)  # which also says what the pack is for
    load_ensembles()
    activate_first()
    call_command("ensure_roles", stdout=sys.stderr)
    from devstack.accounts import ensure_accounts

    write_private(state.path / "evidence.json", json.dumps(evidence_of_active()))
    accounts = state.path / "accounts.json"
    known = json.loads(accounts.read_text()).get("api_key", "") if accounts.exists() else ""
    write_private(accounts, json.dumps({"api_key": ensure_accounts(state.secrets()["admin"], known)}))


def load_ensembles() -> None:
    from ml_models.models import EnsembleConfig

    for path in ENSEMBLES:
        version = yaml.safe_load(path.read_text())["version"]
        loaded = EnsembleConfig.objects.filter(version=version).exclude(state=EnsembleConfig.State.DRAFT)
        if not loaded.exists():  # an edited file updates a draft; anything later is immutable
            with step(f"load config/ensembles/{path.name}"):
                call_command("load_ensemble", str(path), stdout=sys.stderr)


def activate_first() -> None:
    from ml_models.models import EnsembleConfig

    if EnsembleConfig.objects.filter(state=EnsembleConfig.State.ACTIVE).exists():
        return
    with step(f"validate and activate version {FIRST_ACTIVE}"):
        # what they tell of its evidence stands in the welcome
        call_command("validate_config", str(FIRST_ACTIVE), stdout=StringIO(), stderr=StringIO())
        call_command("activate_config", str(FIRST_ACTIVE), stdout=StringIO(), stderr=StringIO())


def evidence_of_active() -> dict[str, Any]:
    """What the active version was not measured to do (`lacking`), and what is known of it (`known`: None, or
    `versions.known.Known` as an object)."""
    from ml_models import selectors
    from ml_models.versions import evidence
    from ml_models.versions.known import known

    active = selectors.configs().filter(state="active").first()
    if active is None:
        return {"version": None, "lacking": [], "known": None}
    about = known(active)
    return {"version": active.version, "lacking": evidence.missing(active), "known": about and asdict(about)}


@contextmanager
def step(what: str) -> Iterator[None]:
    say(f"  {what} …")
    began = time.monotonic()
    yield
    if (took := time.monotonic() - began) > 2:
        say(f"    done in {took:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
