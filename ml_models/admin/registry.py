"""Artifacts: which file, from where, on which terms."""

from django.contrib import admin
from django.template.defaultfilters import filesizeformat
from django.utils.safestring import SafeString

from ml_models.models import Artifact

from .base import Panel
from .display import label


@admin.register(Artifact)
class ArtifactAdmin(Panel):
    nothing = "No model file is published. Publish one with publish_model."
    list_display = ["name", "kind", "family", "short_sha256", "generation", "weights_licence", "commercial"]
    list_filter = ["kind", "family", "commercial_use"]
    search_fields = ["name", "sha256"]
    fields = [
        "name",
        "kind",
        "family",
        "uri",
        "generation",
        "sha256",
        "graph_sha256",
        "bytes",
        "contract",
        "dimension",
        "weights_licence",
        "training_data",
        "commercial_use",
        "citation",
        "golden_min_cosine",
        "created_at",
    ]

    readonly_fields = ["bytes"]

    @admin.display(description="size")
    def bytes(self, artifact: Artifact) -> str:
        return filesizeformat(artifact.size)

    @admin.display(description="sha256", ordering="sha256")
    def short_sha256(self, artifact: Artifact) -> str:
        return artifact.sha256[:12]

    @admin.display(description="commercial use", ordering="commercial_use")
    def commercial(self, artifact: Artifact) -> SafeString:
        return label(artifact.commercial_use)
