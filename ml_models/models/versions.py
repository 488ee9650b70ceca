"""Model files, the versions made of them, and what was measured of a version."""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q, Value
from numpy.typing import NDArray

from ..engine.embed import space_id
from ..engine.types import InputContract


class Artifact(models.Model):
    """A model file in the bucket with its contract. Identified by its sha256; the generation says where it lies."""

    class Kind(models.TextChoices):
        EMBEDDER = "embedder"
        DETECTOR = "detector"
        PRESENTATION = "presentation"
        EYES = "eyes"

    class CommercialUse(models.TextChoices):
        ALLOWED = "allowed"
        FORBIDDEN = "forbidden"
        UNKNOWN = "unknown"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=Kind)
    family = models.CharField(max_length=50)
    uri = models.CharField(max_length=500, help_text="gs://bucket/object")
    generation = models.BigIntegerField(help_text="The object's generation in the bucket; pulls are pinned to it.")
    sha256 = models.CharField(max_length=64, unique=True)
    size = models.BigIntegerField(help_text="bytes")
    graph_sha256 = models.CharField(max_length=64, blank=True, help_text="sha256 of the graph without metadata_props")
    contract = models.JSONField()
    dimension = models.PositiveIntegerField(null=True, blank=True)
    weights_licence = models.CharField(max_length=200, blank=True)
    training_data = models.TextField(blank=True, help_text="The training set and its terms.")
    commercial_use = models.CharField(max_length=20, choices=CommercialUse, default=CommercialUse.UNKNOWN)
    citation = models.TextField(blank=True)
    golden = models.BinaryField(
        null=True,
        blank=True,
        help_text="float32, little-endian, (2, dimension): embeddings, or another network's logits",
    )
    golden_min_cosine = models.FloatField(default=0.999)
    seconds_per_face = models.FloatField(null=True, blank=True, help_text="One core's, measured at a validation.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="detector") | Q(dimension__isnull=False, golden__isnull=False),
                name="embedder_has_dimension_and_golden",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def input_contract(self) -> InputContract:
        return InputContract.from_json(self.contract)

    @property
    def golden_vectors(self) -> NDArray[np.float32]:
        """float32 (2, dimension): an embedder's, unit length; another network's logits."""
        return np.frombuffer(bytes(self.golden or b""), "<f4").reshape(2, -1).astype(np.float32)


class EnsembleConfig(models.Model):
    """A version of the ensemble. Immutable once it leaves `draft`: clone it to change it."""

    class State(models.TextChoices):
        DRAFT = "draft"
        VALIDATED = "validated"
        ROLLING_OUT = "rolling_out"
        ACTIVE = "active"
        RETIRED = "retired"

    # Where a file that is no member has its place in a version: by the name of the part of `engine.pipeline.Pipeline`,
    # the kind of file that it takes.
    PLACES: ClassVar[dict[str, Artifact.Kind]] = {
        "detector": Artifact.Kind.DETECTOR,
        "presentation": Artifact.Kind.PRESENTATION,
        "eyes": Artifact.Kind.EYES,
        "glasses": Artifact.Kind.EYES,
    }
    # The ones with a relation of that name, for a file that is alone in its place; all others are rows of
    # `PlacedArtifact`.
    RELATIONS = ("detector", "presentation")
    # The ones that take several files.
    SEVERAL = ("presentation",)
    FROZEN = (
        "version",
        "detector_id",
        "presentation_id",
        "flip",
        "target_fmr",
        "voter_sets",
        "conditions",
        "identification",
        "quality_limits",
        "liveness",
        "calibrated_on",
    )

    version = models.PositiveIntegerField(unique=True)
    name = models.CharField(max_length=100)
    notes = models.TextField(blank=True)
    state = models.CharField(max_length=20, choices=State, default=State.DRAFT, db_index=True)
    detector = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")
    presentation = models.ForeignKey(
        Artifact, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    flip = models.BooleanField(default=False, help_text="Average with the mirror image's embedding, at twice the cost.")
    target_fmr = models.FloatField(default=0.001, validators=[MinValueValidator(1e-9), MaxValueValidator(0.5)])
    voter_sets = models.JSONField(
        default=dict,
        blank=True,
        help_text="By voter set: a, b, threshold and review_threshold (natural-log LLR).",
    )
    conditions = models.JSONField(
        default=list,
        blank=True,
        help_text="For blurred or covered faces: how they are classified, and their rule; see engine.fuse.Condition.",
    )
    identification = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        blank=True,
        help_text="target_fpir, and offsets by the number of candidates; see engine.identify.IdentificationRule.",
    )
    quality_limits = models.JSONField(
        default=dict, blank=True, help_text="verify and enroll: overrides of the defaults."
    )
    liveness = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text="passive: calibration and threshold of the attack detector; turned: a turned head's; see "
        "engine.presentation and engine.challenge.",
    )
    calibrated_on = models.JSONField(
        default=dict,
        blank=True,
        help_text="lists: names of the pair lists; subjects: hashes of whom they show, see evaluation.lists.pairs; "
        "weights: the members' by name, that the thresholds were fitted for.",
    )
    evaluation = models.ForeignKey(
        "EvaluationReport", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    warm_until = models.DateTimeField(null=True, blank=True, help_text="Rollback waits for nothing until then.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        verbose_name = "version"
        constraints = [
            models.UniqueConstraint(fields=["state"], condition=Q(state="active"), name="one_active_version"),
            models.UniqueConstraint(fields=["state"], condition=Q(state="rolling_out"), name="one_version_rolling_out"),
        ]
        permissions = [
            ("validate_config", "Can validate a version"),
            ("activate_config", "Can activate a version"),
            ("rollback_config", "Can roll back to the version before"),
            ("discard_config", "Can discard a validated version"),
            ("end_warmth", "Can end a retired version's warmth, and the way back to it"),
        ]

    def __str__(self) -> str:
        return f"v{self.version} {self.name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk:
            before = EnsembleConfig.objects.filter(pk=self.pk).exclude(state=self.State.DRAFT).first()
            if before and any(getattr(before, field) != getattr(self, field) for field in self.FROZEN):
                raise ValidationError(f"Version {before.version} is {before.state} and cannot change; clone it.")
        super().save(*args, **kwargs)

    @property
    def artifacts(self) -> list[Artifact]:
        """Every model file that the version runs on: what has a place, then the members."""
        return [*chain.from_iterable(self.placed.values()), *(member.artifact for member in self.members.all())]

    @property
    def placed(self) -> dict[str, list[Artifact]]:
        """The files that are no members, by their place; without the places that nothing fills."""
        files = {place: [getattr(self, place)] for place in self.RELATIONS if getattr(self, f"{place}_id") is not None}
        for row in self.placements.all():
            files.setdefault(row.place, []).append(row.artifact)
        return files

    @property
    def attack_detectors(self) -> list[Artifact]:
        """What looks for presentation attacks; of several the log-odds are averaged."""
        return self.placed.get("presentation", [])

    @property
    def eyes(self) -> Artifact | None:
        """What tells whether a reference's eyes are covered."""
        return next(iter(self.placed.get("eyes", [])), None)

    @property
    def glasses(self) -> Artifact | None:
        """What tells whether there are glasses before the eyes."""
        return next(iter(self.placed.get("glasses", [])), None)


class EnsembleMember(models.Model):
    """An artifact's place in a version."""

    config = models.ForeignKey(EnsembleConfig, on_delete=models.CASCADE, related_name="members")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="memberships")
    weight = models.FloatField(validators=[MinValueValidator(0.0), MaxValueValidator(1.0)])
    calibration = models.JSONField(null=True, blank=True, help_text="a and b: similarity → log-likelihood ratio")
    quality_threshold = models.FloatField(default=0.0, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)])

    class Meta:
        ordering = ["artifact__name"]
        constraints = [
            models.UniqueConstraint(fields=["config", "artifact"], name="member_once_in_a_version"),
            models.CheckConstraint(condition=Q(weight__gte=0, weight__lte=1), name="weight_in_0_1"),
        ]

    def __str__(self) -> str:
        return f"{self.artifact.name} {self.weight:.0%}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        _require_draft(self.config_id)
        super().save(*args, **kwargs)

    @property
    def votes(self) -> bool:
        """Whether its similarities count for a match. Those of glasses, not faces, say only whether it is one pair."""
        return self.artifact.family != "eyewear"

    @cached_property
    def space(self) -> str:
        """The embedding space of this member's vectors, sha256 hex."""
        return space_id(self.artifact.graph_sha256, self.artifact.input_contract, self.config.flip)


class PlacedArtifact(models.Model):
    """One of several files of a place, or the file of a place without a relation. Of several the relation is empty, so
    that a process of a release before this table refuses the version instead of judging one network by the numbers of
    all; and one that does not know the place refuses it, too."""

    config = models.ForeignKey(EnsembleConfig, on_delete=models.CASCADE, related_name="placements")
    place = models.CharField(max_length=20, help_text="One of EnsembleConfig.PLACES.")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["artifact__name"]
        constraints = [
            models.UniqueConstraint(fields=["config", "place", "artifact"], name="placed_once_in_a_version"),
        ]

    def __str__(self) -> str:
        return f"{self.place}: {self.artifact.name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        _require_draft(self.config_id)
        super().save(*args, **kwargs)


def _require_draft(config_id: int) -> None:
    state = EnsembleConfig.objects.values_list("state", flat=True).get(pk=config_id)
    if state != EnsembleConfig.State.DRAFT:
        raise ValidationError(f"The version is {state} and cannot change; clone it.")


class ConfigStep(models.Model):
    """Who moved a version from one state to another, when, and why."""

    config = models.ForeignKey(EnsembleConfig, on_delete=models.CASCADE, related_name="steps")
    from_state = models.CharField(max_length=20, blank=True)
    to_state = models.CharField(max_length=20)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    reason = models.TextField(blank=True)
    overrides_evidence = models.BooleanField(default=False, help_text="A superuser answers for missing evidence.")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.from_state or 'new'} → {self.to_state}".replace("_", " ")


class PresentationReport(models.Model):
    """What `evaluate_presentation` measured, bound to the digest of what it measured."""

    config = models.ForeignKey(
        EnsembleConfig, verbose_name="version", on_delete=models.CASCADE, related_name="presentation_reports"
    )
    digest = models.CharField(max_length=64, db_index=True, help_text="of what the version looks for attacks with")
    manifest_digest = models.CharField(max_length=64, help_text="of what it was shown")
    data = models.JSONField()
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["config", "digest", "manifest_digest"], name="presentation_report_once"),
        ]

    def __str__(self) -> str:
        return f"{self.digest[:12]} {self.created_at:%Y-%m-%d %H:%M}"


class EvaluationReport(models.Model):
    """What `evaluate` measured, bound to the digest of what it measured."""

    config = models.ForeignKey(EnsembleConfig, verbose_name="version", on_delete=models.CASCADE, related_name="reports")
    digest = models.CharField(max_length=64, db_index=True, help_text="of what the version decided with")
    list_digest = models.CharField(max_length=64, blank=True, db_index=True, help_text="of what it was measured on")
    measured_on = models.JSONField(default=dict, help_text="lists by name, subjects as hashes, whom they show")
    data = models.JSONField()
    draws = models.JSONField(default=dict, help_text="the same people drawn for every version: for comparing two")
    html = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.config}, {self.created_at:%Y-%m-%d %H:%M} UTC"
