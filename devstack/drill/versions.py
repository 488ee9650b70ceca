"""The drill's versions: two members, three members, and the same three with other weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from django.core.management import call_command
from django.db.models.functions import Now

from devstack.accounts import ensure_accounts
from devstack.drill.stack import Stack, wait
from devstack.services import create_bucket
from devstack.state import ROOT, say
from ml_models import artifacts, rollouts, runtime
from ml_models.models import Embedding, EnsembleConfig, Reference
from ml_models.rollouts.progress import progress

OLD, NEW, REWEIGHTED = 1, 2, 3
WEIGHTS = {"arcface_int8": 0.35, "mobilefacenet_192": 0.35, "sface_2021dec": 0.30}


def prepare(stack: Stack, folder: Path) -> None:
    """Migrate, publish the pack, load all three versions, activate the old one."""
    from rest_framework.authtoken.models import Token

    call_command("migrate", interactive=False, verbosity=0)
    create_bucket(stack.environment["STORAGE_EMULATOR_HOST"], stack.environment["ML_MODELS_BUCKET"])
    quiet = (folder / "prepare.log").open("a")
    call_command("fetch_demo_pack", stdout=quiet, stderr=quiet)
    for path in (*(ROOT / "config" / "ensembles" / f"v{version}.yaml" for version in (OLD, NEW)), _reweighted(folder)):
        call_command("load_ensemble", str(path), stdout=quiet)
    for version in (OLD, NEW):
        rollouts.validate(rollouts.get_config(version))
    call_command("activate_config", str(OLD), stdout=quiet)
    ensure_accounts(stack.state.secrets()["admin"])
    from django.contrib.auth import get_user_model

    admin = get_user_model()._default_manager.get(is_superuser=True)
    stack.token = str(Token.objects.get_or_create(user=admin)[0].key)
    runtime.refresh()


def _reweighted(folder: Path) -> Path:
    data: dict[str, Any] = yaml.safe_load((ROOT / "config" / "ensembles" / f"v{NEW}.yaml").read_text())
    for member in data["members"]:
        member["weight"] = WEIGHTS[member["artifact"]]
    path = folder / "reweighted.yaml"
    path.write_text(yaml.safe_dump({**data, "version": REWEIGHTED, "name": "other weights"}))
    return path


def load_everything(versions: tuple[int, ...]) -> None:
    """Load every network of the versions into this process, whatever is served."""
    networks = runtime.current().networks
    for version in versions:
        for artifact in rollouts.get_config(version).artifacts:
            networks.setdefault(artifact.sha256, artifacts.load(artifact))


def active() -> int:
    return EnsembleConfig.objects.values_list("version", flat=True).get(state=EnsembleConfig.State.ACTIVE)


def new_space() -> str:
    """The embedding space that the new version has and the old one has not."""
    old = {member.space for member in rollouts.get_config(OLD).members.all()}
    [space] = {member.space for member in rollouts.get_config(NEW).members.all()} - old
    return space


def embedded() -> int:
    """How many references have their vector in the new space."""
    return Embedding.objects.filter(space=new_space()).count()


def rows() -> frozenset[Any]:
    """The keys of every embedding in the new space."""
    return frozenset(Embedding.objects.filter(space=new_space()).values_list("pk", flat=True))


def forget_the_new_space(stack: Stack) -> None:
    """The old version active, the rollback window over, the new space purged: everybody is to be embedded again."""
    if active() != OLD:
        stack.call("POST", f"configs/{OLD}/activate")
        wait(lambda: active() == OLD, 60, "going back to the old version")
    EnsembleConfig.objects.exclude(version=OLD).update(warm_until=Now())
    call_command("purge_retired", stdout=(stack.state.path / "prepare.log").open("a"), stderr=None)
    if left := embedded():
        say(f"  {left} embeddings were left by purge_retired")


def how_far() -> str:
    """The latest rollout in a line."""
    where = progress(rollouts.get_rollout())
    return f"{where.state}, {where.missing} of {where.pairs} missing. {where.reason}"


def references() -> int:
    return Reference.objects.count()
