from django.urls import path, re_path, register_converter
from django.urls.converters import StringConverter, UUIDConverter

from ml_models import rollouts

from . import groups, identify, liveness, operators, quality, views
from .fallback import fallback


class SubjectIdConverter(StringConverter):
    """Everything but a last slash: ids have slashes, and what else may be in one is the serializer's to say."""

    regex = r"(?s:.+)"

    def to_python(self, value: str) -> str:
        return value.removesuffix("/")


class AnyCaseUUIDConverter(UUIDConverter):
    """Some phones write a UUID in capitals. A DELETE that found nothing there would seem to be done already."""

    regex = f"(?i:{UUIDConverter.regex})"


register_converter(SubjectIdConverter, "subject_id")
register_converter(AnyCaseUUIDConverter, "any_uuid")

urlpatterns = [
    path("enroll", views.EnrollView.as_view(), name="enroll"),
    path("liveness/challenges", liveness.ChallengeView.as_view(), name="challenges"),
    path("verify", views.VerifyView.as_view(), name="verify"),
    path("quality", quality.QualityView.as_view(), name="quality"),
    path("identify", identify.IdentifyView.as_view(), name="identify"),
    # the converter would take the last slash for a part of the id; `reverse` gives the last one of a name
    path("subjects/<subject_id:subject_id>/release/", views.ReleaseView.as_view(schema=None), name="release"),
    path("subjects/<subject_id:subject_id>/release", views.ReleaseView.as_view(), name="release"),
    path("subjects/<subject_id:subject_id>", views.SubjectView.as_view(), name="subject"),
    path("groups/<subject_id:group_id>", groups.GroupView.as_view(), name="group"),
    path("references/<any_uuid:reference_id>", views.ReferenceView.as_view(), name="reference"),
    path("config", views.ConfigView.as_view(), name="config"),
    path("configs", operators.ConfigsView.as_view(), name="configs"),
    path("configs/<int:version>/validate", operators.ValidateView.as_view(), name="validate"),
    path("configs/<int:version>/activate", operators.ActivateView.as_view(), name="activate"),
    path("configs/<int:version>/rollback", operators.RollbackView.as_view(), name="rollback"),
    path("rollouts/<any_uuid:rollout_id>", operators.RolloutView.as_view(), name="rollout"),
    *(
        path(f"rollouts/<any_uuid:rollout_id>/{name}", operators.steering(steer, says), name=name)
        for name, steer, says in (
            ("pause", rollouts.pause, "Stop embedding; the active version goes on answering"),
            ("resume", rollouts.resume, "Go on with a paused rollout"),
            ("abort", rollouts.abort, "Give a rollout up; the active version stays"),
            ("go", rollouts.cut_over, "Bring a version live that waits for approval"),
        )
    ),
    re_path("", fallback),
]
