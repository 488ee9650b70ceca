"""Versions as the pages read them: with all that a page says of one, in a fixed number of queries."""

from __future__ import annotations

from django.db.models import Prefetch, QuerySet
from django.db.models.fields.json import KT

from ml_models.models import EnsembleConfig, EnsembleMember, EvaluationReport, PlacedArtifact


def with_artifacts(configs: QuerySet[EnsembleConfig]) -> QuerySet[EnsembleConfig]:
    """Versions with all their artifacts, in three queries."""
    members = EnsembleMember.objects.select_related("artifact").defer("artifact__golden")
    placements = PlacedArtifact.objects.select_related("artifact").defer("artifact__golden")
    return (
        configs.select_related(*EnsembleConfig.RELATIONS)
        .defer(*(f"{place}__golden" for place in EnsembleConfig.RELATIONS))
        .prefetch_related(Prefetch("members", members), Prefetch("placements", placements))
    )


def detailed(configs: QuerySet[EnsembleConfig]) -> QuerySet[EnsembleConfig]:
    """Versions with members, artifacts and the latest report of each, in a fixed number of queries."""
    # a report of people who took no part says more than a newer one that is cross-validated
    apart_first = KT("data__cross_validated").asc(nulls_first=True)
    reports = EvaluationReport.objects.order_by("config_id", apart_first, "-created_at")
    latest = reports.distinct("config_id").defer("html")
    return with_artifacts(configs).prefetch_related(Prefetch("reports", latest, to_attr="latest"))


def active() -> EnsembleConfig | None:
    return detailed(EnsembleConfig.objects.filter(state=EnsembleConfig.State.ACTIVE)).first()


def report_of(config: EnsembleConfig) -> EvaluationReport | None:
    latest: list[EvaluationReport] = config.latest  # type: ignore[attr-defined]
    return latest[0] if latest else None
