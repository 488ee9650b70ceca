"""What whoever opens the panel must know about this deployment, told from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Prefetch
from django.http import HttpRequest

from ml_models import conf
from ml_models.models import Artifact, EnsembleConfig, EnsembleMember
from ml_models.versions import evidence


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
    members = EnsembleMember.objects.filter(config__state="active")
    facts = list(members.values_list("artifact__name", "artifact__family", "artifact__commercial_use"))
    return [*_licences(facts), *_stand_in(facts), *(_evidence() if of_evidence else ())]


def environment(request: HttpRequest) -> list[str] | None:
    """The label in the theme's header (`UNFOLD["ENVIRONMENT"]`)."""
    return ["Non-commercial", "warning"] if conf.get("NONCOMMERCIAL") else None


def _licences(facts: Sequence[tuple[str, str, str]]) -> list[Notice]:
    if not conf.get("NONCOMMERCIAL"):
        return []
    unlicensed = sorted(name for name, _, use in facts if use != Artifact.CommercialUse.ALLOWED)
    in_use = f" Now in use: {', '.join(unlicensed)}." if unlicensed else ""
    says = (
        "This deployment declares itself non-commercial: weights may serve here whose commercial use is "
        f"forbidden or unknown.{in_use}"
    )
    return [Notice("non-commercial", says)]


def _evidence() -> list[Notice]:
    members = EnsembleMember.objects.select_related("artifact").defer("artifact__golden")
    rows = EnsembleConfig.objects.filter(state=EnsembleConfig.State.ACTIVE).select_related("detector")
    active = rows.defer("detector__golden").prefetch_related(Prefetch("members", members)).first()
    lacking = evidence.missing(active) if active else []
    if active is None or not lacking:
        return []
    why = "A superuser answers for it." if evidence.enforced() else "This deployment only warns of that."
    says = f"Version {active.version}, which is active, lacks evidence. {why} {' '.join(lacking)}"
    return [Notice("the active version lacks evidence", says)]


def _stand_in(facts: Sequence[tuple[str, str, str]]) -> list[Notice]:
    families = {family for _, family, _ in facts}
    standing_in = sorted(name for name, family, _ in facts if family == "sface")
    if not standing_in or "adaface" in families:
        return []
    says = (
        f"The active version has no AdaFace member: SFace ({', '.join(standing_in)}) stands in for it until an "
        "operator converts the author's weights with convert_adaface."
    )
    return [Notice("no AdaFace member", says)]
