"""A draft's numbers as a form, and ensemble files sent up: both go the way of `load_ensemble`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from ml_models.engine.quality import QualityLimits
from ml_models.exceptions import ConfigChanged, ServiceError
from ml_models.models import EnsembleConfig
from ml_models.versions import evidence, files, numbers

from .base import Panel, refused
from .display import words

_MAX_FILE_BYTES = 5_000_000  # as many hashes as 70,000 people have
_STEPS = ("enroll", "verify")


class Tuning(forms.Form):
    """Weights, thresholds and quality limits of a version. A limit left empty is the default one."""

    of = forms.CharField(widget=forms.HiddenInput)
    target_fmr = forms.FloatField(label="target FMR", min_value=1e-9, max_value=0.5)

    def __init__(self, config: EnsembleConfig, data: Any = None) -> None:
        super().__init__(data)
        self.content = files.export(config)
        self.initial["of"] = digest(self.content)
        self.initial["target_fmr"] = self.content["target_fmr"]
        self.fields.update(self._of_members() | self._of_voter_sets() | self._of_limits(config))
        for field in self.fields.values():
            field.widget.attrs.update({"class": "fv-text", "step": "any"})

    def _number(self, label: str, value: Any, **limits: Any) -> forms.FloatField:
        return forms.FloatField(label=label, initial=value, **limits)

    def _of_members(self) -> dict[str, forms.Field]:
        made: dict[str, forms.Field] = {}
        for member in self.content["members"]:
            name, share = member["artifact"], {"min_value": 0.0, "max_value": 1.0}
            made[f"weight {name}"] = self._number(f"weight of {name}", member["weight"], **share)
            limit = member["quality_threshold"]
            made[f"quality {name}"] = self._number(f"{name} votes from quality", limit, **share)
        return made

    def _of_voter_sets(self) -> dict[str, forms.Field]:
        return {
            f"{key} {voters}": self._number(f"{label}, {voters.replace('+', ' + ')}", rule[key])
            for voters, rule in self.content["voter_sets"].items()
            for key, label in (("threshold", "match from"), ("review_threshold", "review from"))
            if isinstance(rule.get(key), int | float)
        }

    def _of_limits(self, config: EnsembleConfig) -> dict[str, forms.Field]:
        made: dict[str, forms.Field] = {}
        for step in _STEPS:
            own = config.quality_limits.get(step, {})
            defaults = numbers.DEFAULT_LIMITS[step].to_json()
            for limit in fields(QualityLimits):
                label = f"{step}: {words(limit.name)}"
                field = self._number(label, own.get(limit.name), required=False)
                field.widget.attrs["placeholder"] = f"{defaults[limit.name]:g}"
                made[f"{step} {limit.name}"] = field
        return made

    def groups(self) -> Iterator[tuple[str, list[forms.BoundField]]]:
        """The fields under their headings."""
        for heading, names in (
            ("Decision", ("target_fmr", "threshold", "review_threshold")),
            ("Members", ("weight", "quality")),
            ("Quality limits of an enrolment", ("enroll",)),
            ("Quality limits of a verify", ("verify",)),
        ):
            yield heading, [self[name] for name in self.fields if name.split(" ")[0] in names]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        total = sum(value for name, value in cleaned.items() if name.startswith("weight "))
        if abs(total - 1) > 1e-6:
            raise forms.ValidationError(f"The weights sum to {total:g}, not to 1.")
        return cleaned

    def tuned(self) -> dict[str, Any]:
        """The version's content with the numbers of the form."""
        said, content = self.cleaned_data, self.content
        members = [
            {
                **member,
                "weight": said[f"weight {member['artifact']}"],
                "quality_threshold": said[f"quality {member['artifact']}"],
            }
            for member in content["members"]
        ]
        rules = {
            voters: {**rule, **{key: said[f"{key} {voters}"] for key in rule if f"{key} {voters}" in said}}
            for voters, rule in content["voter_sets"].items()
        }
        limits = {
            step: {
                limit.name: value
                for limit in fields(QualityLimits)
                if (value := said[f"{step} {limit.name}"]) is not None
            }
            for step in _STEPS
        }
        own_limits = {step: own for step, own in limits.items() if own}
        # numbers set by hand were fitted for no weights: what was fitted last still counts
        fitted = {"weights": files.weights_of(content), **content.get("calibrated_on", {})}
        new = {"target_fmr": said["target_fmr"], "voter_sets": rules, "quality_limits": own_limits}
        return {**content, **new, "members": members, "calibrated_on": fitted}


def digest(content: dict[str, Any]) -> str:
    """Of what the form was filled from: another operator may change the draft meanwhile."""
    return hashlib.sha256(files.dump(content).encode()).hexdigest()


def tune(panel: Panel, request: HttpRequest, object_id: str) -> HttpResponse:
    """The page with the form, for a draft and who may change it."""
    config, right = panel.require(request, object_id), "ml_models.change_ensembleconfig"
    if not request.user.has_perm(right):
        return panel.lacks(request, right)
    if config.state != EnsembleConfig.State.DRAFT:
        messages.error(request, f"Version {config.version} is {words(config.state)}: only a draft is tuned. Clone it.")
        return HttpResponseRedirect(panel.url("change", config.pk))
    form = Tuning(config, request.POST or None)
    if request.method == "POST" and form.is_valid() and _saved(request, config, form):
        return HttpResponseRedirect(panel.url("change", config.pk))
    return panel.answer(request, "tune", title=f"Tune {config}", form=form, back=panel.url("change", config.pk))


def _saved(request: HttpRequest, config: EnsembleConfig, form: Tuning) -> bool:
    try:
        if form.cleaned_data["of"] != digest(form.content):
            raise ConfigChanged(f"Version {config.version} was changed meanwhile. Open the form again.")
        content = form.tuned()
        files.require_content(content, str(config))
        tuned, done = files.write(content, request.user, "in the panel")
    except ServiceError as error:
        refused(request, error)
        return False
    messages.success(request, "Nothing was changed." if done == "unchanged" else f"{tuned} has the new numbers.")
    for line in evidence.of_weights(tuned):
        messages.warning(request, line.says)
    return True


def upload(panel: Panel, request: HttpRequest) -> HttpResponse:
    """An ensemble file becomes a draft, or changes the one of its number."""
    if not request.user.has_perm("ml_models.add_ensembleconfig"):
        return panel.lacks(request, "ml_models.add_ensembleconfig")
    if request.method == "POST" and (config := _loaded(request)):
        return HttpResponseRedirect(panel.url("change", config.pk))
    return panel.answer(request, "upload", title="Load an ensemble file", back=panel.url("changelist"))


def _loaded(request: HttpRequest) -> EnsembleConfig | None:
    file = request.FILES.get("file")
    if file is None or (file.size or 0) > _MAX_FILE_BYTES:
        messages.error(request, f"Choose an ensemble file (.yaml) of at most {_MAX_FILE_BYTES:,} bytes.")
        return None
    try:
        config, done = files.load_text(file.read().decode(errors="replace"), file.name or "file", request.user)
    except ServiceError as error:
        refused(request, error)
        return None
    messages.success(request, f"{config} is {done}.")
    return config
