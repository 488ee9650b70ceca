"""What is proven before a version may go live."""

from __future__ import annotations

from django.db import transaction

from .. import artifacts, selectors
from ..engine.errors import ArtifactRejected, InferenceFailed
from ..exceptions import ArtifactError, ConfigInvalid, RolloutRefused
from ..models import Artifact, EnsembleConfig
from ..services.callers import By, as_caller
from ..versions import evidence, files
from ..versions.validation import problems
from .steps import move

State = EnsembleConfig.State


def validate(config: EnsembleConfig, by: By = None, override_evidence: str = "") -> None:
    """Move a draft to `validated` once its networks load here, it was measured as `evidence` asks, and nothing speaks
    against it.

    Args:
        override_evidence: why a superuser answers for evidence that is missing; nothing else can be overridden.

    Raises:
        ConfigInvalid: with every reason, networks that cannot be had or are not what they should be among them.
        RolloutRefused: it is not a draft, somebody changed it meanwhile, or who overrides is no superuser.
    """
    who = as_caller(by).account
    if override_evidence and not (who and who.is_active and getattr(who, "is_superuser", False)):
        raise RolloutRefused("Only a superuser can answer for missing evidence.")
    if config.state == State.VALIDATED:
        return
    proven = files.export(config)
    reasons = problems(config)
    for artifact in config.artifacts:
        try:
            _prove(artifact)
        except (ArtifactError, ArtifactRejected, InferenceFailed) as error:
            reasons.append(f"{artifact.name} cannot be used: {error.code}: {error}")
    lacking = evidence.missing(config)
    if not override_evidence:
        reasons += evidence.refusals(config, lacking)
    if reasons:
        raise ConfigInvalid(reasons)
    reason = f"without evidence: {override_evidence} ({' '.join(lacking)})" if override_evidence and lacking else ""
    with transaction.atomic():
        EnsembleConfig.objects.select_for_update().get(pk=config.pk)
        # a file loaded into the draft while its networks were being proven
        if files.export(selectors.configs().get(pk=config.pk)) != proven:
            raise RolloutRefused(f"Version {config.version} was changed while it was being validated. Validate again.")
        move(config, State.DRAFT, State.VALIDATED, by, reason, overrides_evidence=bool(reason))


def _prove(artifact: Artifact) -> None:
    """In the bucket as the database says, loadable, its golden vectors right; and how fast it is here."""
    network = artifacts.load(artifact)
    artifacts.require_in_bucket(artifact)
    seconds = artifacts.KINDS[artifact.kind].seconds_per_face(network)
    Artifact.objects.filter(pk=artifact.pk).update(seconds_per_face=seconds)
