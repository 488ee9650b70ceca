"""What operators do over REST: look at versions and rollouts, validate, activate, roll back, steer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ml_models import rollouts, selectors, tasks
from ml_models.models import EnsembleConfig, Rollout
from ml_models.rollouts.progress import progress
from ml_models.services.callers import By

from . import examples
from .access import holds
from .base import FaceView, parse, written
from .callers import caller
from .schema import OPERATOR, operation


class ConfigSummary(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=EnsembleConfig.State.choices)
    flip = serializers.BooleanField()
    target_fmr = serializers.FloatField()
    members = serializers.DictField(child=serializers.FloatField(), help_text="weight by artifact name")
    warm_until = serializers.DateTimeField(allow_null=True)


class VersionAnswer(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    state = serializers.ChoiceField(choices=EnsembleConfig.State.choices)


class ActivateRequest(serializers.Serializer[Any]):
    hold_for_approval = serializers.BooleanField(default=False, help_text="wait for an operator's Go")


class ActivateAnswer(serializers.Serializer[Any]):
    rollout_id = serializers.UUIDField()


class ShadowAnswer(serializers.Serializer[Any]):
    scored = serializers.IntegerField(help_text="live verifies scored under this version, too")
    agreement = serializers.FloatField(allow_null=True, help_text="share that it would have decided alike, [0, 1]")
    score_shift = serializers.DictField(
        child=serializers.FloatField(), help_text="mean of its score minus the live one, natural log, by live decision"
    )
    changes = serializers.DictField(
        child=serializers.IntegerField(), help_text="decided otherwise, as “match → no_match”"
    )


class RolloutAnswer(serializers.Serializer[Any]):
    rollout_id = serializers.UUIDField()
    version = serializers.IntegerField()
    state = serializers.ChoiceField(choices=Rollout.State.choices)
    reason = serializers.CharField(allow_blank=True)
    percent = serializers.IntegerField()
    pairs = serializers.IntegerField(help_text="(reference, space) pairs missing at the start")
    missing = serializers.IntegerField()
    failures = serializers.DictField(child=serializers.IntegerField(), help_text="references by error code")
    references_per_s = serializers.FloatField(allow_null=True)
    seconds_left = serializers.FloatField(allow_null=True)
    processes = serializers.DictField(child=serializers.BooleanField(), help_text="loaded the networks?")
    shadow = ShadowAnswer()


class ConfigsView(FaceView):
    permission_classes = [holds("view_ensembleconfig")]

    @operation("list_configs", {200: ConfigSummary(many=True)}, example=examples.CONFIG_SUMMARY)
    def get(self, request: Request) -> Response:
        """Every version, newest first."""
        rows = [
            {
                "version": config.version,
                "name": config.name,
                "state": config.state,
                "flip": config.flip,
                "target_fmr": config.target_fmr,
                "members": {member.artifact.name: member.weight for member in config.members.all()},
                "warm_until": config.warm_until,
            }
            for config in selectors.configs()
        ]
        return Response([written(ConfigSummary, row) for row in rows])


class ValidateView(FaceView):
    permission_classes = [holds("validate_config")]

    @operation("validate_config", {200: VersionAnswer}, OPERATOR, example=examples.VERSION)
    def post(self, request: Request, version: int) -> Response:
        """Prove that a draft may go live."""
        config = rollouts.get_config(version)
        rollouts.validate(config, caller(request))
        return _version(version)


class ActivateView(FaceView):
    permission_classes = [holds("activate_config")]

    @operation(
        "activate_config",
        {202: ActivateAnswer},
        OPERATOR,
        body=ActivateRequest,
        example=examples.ACTIVATED,
        sent={"hold_for_approval": True},
    )
    def post(self, request: Request, version: int) -> Response:
        """Bring a validated version live; the rollout goes on in the workers."""
        hold = parse(ActivateRequest, request)["hold_for_approval"]
        rollout = rollouts.open_rollout(rollouts.get_config(version), caller(request), hold)
        tasks.nudge()
        return Response(written(ActivateAnswer, {"rollout_id": rollout.pk}), status=202)


class RollbackView(FaceView):
    permission_classes = [holds("rollback_config")]

    @operation("rollback_config", {200: VersionAnswer}, OPERATOR, example=examples.VERSION)
    def post(self, request: Request, version: int) -> Response:
        """Leave this active version for the one before, at once."""
        return _version(rollouts.roll_back(caller(request), leaving=version).version)


def _version(version: int) -> Response:
    config = rollouts.get_config(version)
    return Response(written(VersionAnswer, {"version": config.version, "state": config.state}))


class RolloutView(FaceView):
    permission_classes = [holds("view_rollout")]

    @operation("get_rollout", {200: RolloutAnswer}, "not_found", example=examples.ROLLOUT)
    def get(self, request: Request, rollout_id: UUID) -> Response:
        """How far a rollout is."""
        return _rollout(rollout_id)


class SteerView(FaceView):
    """Each way to steer is an address of its own, so that an access log says what was done; see `steering`."""

    permission_classes = [holds("control_rollout")]
    steer: Callable[[Rollout, By], None] = staticmethod(rollouts.pause)

    @operation(None, {200: RolloutAnswer}, OPERATOR, example=examples.ROLLOUT)
    def post(self, request: Request, rollout_id: UUID) -> Response:
        """Steer a rollout."""
        self.steer(rollouts.get_rollout(rollout_id), caller(request))
        return _rollout(rollout_id)


def steering(steer: Callable[[Rollout, By], None], says: str) -> Any:
    """The view of one way to steer, with its own summary in the interface's description."""
    named: Any = type(f"{steer.__name__.title()}View", (SteerView,), {"steer": staticmethod(steer)})
    return extend_schema_view(post=extend_schema(summary=says, description=f"{says}."))(named).as_view()


def _rollout(rollout_id: UUID) -> Response:
    where = progress(rollouts.get_rollout(rollout_id))
    return Response(written(RolloutAnswer, {**asdict(where), "percent": where.percent}))
