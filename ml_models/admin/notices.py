"""What whoever opens the panel must know about this deployment, told from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpRequest

from ml_models import conf
from ml_models.models import Artifact, EnsembleConfig
from ml_models.versions import evidence

from .reading import with_artifacts


@dataclass(frozen=True, slots=True)
class Notice:
    """`short` stands in the one line on every page, `says` behind it."""

    short: str
    says: str


def notices(of_evidence: bool = True) -> list[Notice]:
    """What the line on every page of the panel says.

    Args:
        of_evidence: False where the page itself says what is missing.
    """
    active = with_artifacts(EnsembleConfig.objects.filter(state=EnsembleConfig.State.ACTIVE)).first()
    artifacts = active.artifacts if active else []
    return [
        *_licences(artifacts),
        *_stand_in(artifacts),
        *(_evidence(active) if active and of_evidence else ()),
    ]


def environment(request: HttpRequest) -> list[str] | None:
    """The label in the theme's header (`UNFOLD["ENVIRONMENT"]`)."""
    return ["Non-commercial", "warning"] if conf.get("NONCOMMERCIAL") else None


def _licences(artifacts: Sequence[Artifact]) -> list[Notice]:
    if not conf.get("NONCOMMERCIAL"):
        return []
    unlicensed = sorted(a.name for a in artifacts if a.commercial_use != Artifact.CommercialUse.ALLOWED)
    in_use = f" Now in use: {', '.join(unlicensed)}." if unlicensed else ""
    says = (
        "This deployment declares itself non-commercial: weights may serve here whose commercial use is "
        f"forbidden or unknown.{in_use}"
    )
    return [Notice("non-commercial", says)]


def _evidence(active: EnsembleConfig) -> list[Notice]:
    lacking = evidence.missing(active)
    if not lacking:
        return []
    why = "A superuser answers for it." if evidence.enforced() else "This deployment only warns of that."
    says = f"Version {active.version}, which is active, lacks evidence. {why} {' '.join(lacking)}"
    return [Notice("the active version lacks evidence", says)]


def _stand_in(artifacts: Sequence[Artifact]) -> list[Notice]:
    families = {artifact.family for artifact in artifacts}
    standing_in = sorted(artifact.name for artifact in artifacts if artifact.family == "sface")
    if not standing_in or "adaface" in families:
        return []
    says = (
        f"The active version has no AdaFace member: SFace ({', '.join(standing_in)}) stands in for it until an "
        "operator converts the author's weights with convert_adaface."
    )
    return [Notice("no AdaFace member", says)]
