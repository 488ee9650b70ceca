"""What a version must have been measured to do before it may decide about people in production."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from .. import conf
from ..engine.types import canonical_json
from ..models import EnsembleConfig, EvaluationReport, PresentationReport
from . import files, numbers

logger = logging.getLogger(__name__)

MIN_SUBJECTS = 200
MIN_MATED = 1_000
MIN_NON_MATED = 30_000
# of a version that identifies: the sizes it is measured on, and what its FPIR may be, as times the target
ROSTERS = (50, 200)
FPIR_FACTOR = 1.5
# people shown to the attack detector; how many attacks is left to the bound of the APCER
MIN_BONA_FIDE = 40
MODES = ("enforce", "warn")
_OWN_CAMERAS = "Only monitor passive, or bring a network and numbers that suit your cameras."
# what says which version it is, not how it decides; `calibrated_on` is held against each report by itself
_NOT_DECIDING = {"version", "name", "notes", "calibrated_on"}
# the files that are no members and take part in whose face it is, or in who may become a reference
_COMPARING = ("detector", "eyes", "glasses")
# what says whether somebody is there, not who it is: its evidence has a digest of its own
_LIVENESS = {"presentation", "liveness"}
# what a roster's size adds to the thresholds: verify decides without it, and it has a digest of its own, too
_IDENTIFICATION = {"identification"}


@dataclass(frozen=True, slots=True)
class Line:
    """One requirement, and what there is of it."""

    met: bool
    says: str


@dataclass(frozen=True, slots=True)
class _Fit:
    """What was fitted on some people and is measured on others, and the commands that do it."""

    what: str
    calibrate: str
    evaluate: str
    advice: str


_VERSION = _Fit("the version", "calibrate", "evaluate", "Measure on others, by --part for example.")
_ATTACK_DETECTOR = _Fit(
    "the attack detector", "calibrate_presentation", "evaluate_presentation", "Show it others of your own."
)


def config_digest(config: EnsembleConfig) -> str:
    """sha256 of everything that a version decides whose face it is with: detector, members with their files and
    contracts, weights, calibration, thresholds, aggregation, quality limits. Two versions that decide alike have the
    same; which attacks they look for is the matter of `liveness_digest`, who on a roster of `identification_digest`."""
    others = _NOT_DECIDING | _LIVENESS | _IDENTIFICATION
    content = {key: value for key, value in files.export(config).items() if key not in others}
    digests = {
        member.artifact.name: [member.artifact.sha256, member.artifact.contract] for member in config.members.all()
    }
    placed = {artifact.name: artifact.sha256 for place in _COMPARING for artifact in config.placed.get(place, [])}
    whole = {**content, "files": {**digests, **placed}}
    return hashlib.sha256(canonical_json(whole).encode()).hexdigest()


def liveness_digest(config: EnsembleConfig) -> str:
    """sha256 of everything that a version decides with whether somebody is there: attack detectors with their
    contracts, the numbers for them and for turned heads, and all that `config_digest` is of, since frames are
    compared."""
    detectors = sorted(config.attack_detectors, key=lambda detector: detector.sha256)
    looking = [[detector.sha256, detector.contract] for detector in detectors]
    whole = {
        "comparing": config_digest(config),
        # of one as before there could be several, so that digests of older versions, and their reports, stay valid
        "presentation": looking[0] if len(looking) == 1 else looking,
        "liveness": numbers.deciding_liveness(config),
    }
    return hashlib.sha256(canonical_json(whole).encode()).hexdigest()


def identification_digest(config: EnsembleConfig) -> str:
    """sha256 of everything that a version decides with who of a roster it is: the offsets by the roster's size, and all
    that `config_digest` is of."""
    whole = {"comparing": config_digest(config), "identification": config.identification}
    return hashlib.sha256(canonical_json(whole).encode()).hexdigest()


def store(
    config: EnsembleConfig,
    data: Mapping[str, Any],
    html: str,
    list_digest: str,
    measured_on: Mapping[str, Any],
    draws: Mapping[str, Any],
) -> EvaluationReport:
    """Keep a report. The same version measured on the same list again replaces what was kept."""
    report, _ = EvaluationReport.objects.update_or_create(
        config=config,
        digest=config_digest(config),
        list_digest=list_digest,
        defaults={"data": data, "html": html, "measured_on": measured_on, "draws": draws},
    )
    shown = best(config) or report
    EnsembleConfig.objects.filter(pk=config.pk).update(evaluation=shown)
    return report


def best(config: EnsembleConfig) -> EvaluationReport | None:
    """The report on what this version decides with that meets the most lines; of equal ones the newest."""
    reports = _reports(config)
    return max(reports, key=lambda report: sum(line.met for line in _of(report, config)), default=None)


def lines(config: EnsembleConfig) -> list[Line]:
    """Every requirement, of the best report there is."""
    report = best(config)
    if report is None:
        return [*of_weights(config), Line(False, _no_report(config)), *_of_presentation(config)]
    measured = Line(True, f"Measured on {report.created_at:%Y-%m-%d}, report {report.pk}.")
    return [*of_weights(config), measured, *_of(report, config), *_of_rosters(config), *_of_presentation(config)]


def missing(config: EnsembleConfig) -> list[str]:
    """The requirements that are not met, as sentences."""
    return [line.says for line in lines(config) if not line.met]


def enforced() -> bool:
    """Whether this deployment declares itself production; everything but "warn" does."""
    return bool(conf.get("EVIDENCE_GATE") != "warn")


def refusals(config: EnsembleConfig, lacking: Sequence[str] | None = None) -> list[str]:
    """Why a version may not go on: the evidence that is missing (`lacking`, when the caller knows it), unless the
    deployment only warns, or a superuser has answered for it."""
    lacking = missing(config) if lacking is None else lacking
    if not lacking:
        return []
    if enforced() and not config.steps.filter(overrides_evidence=True).exists():
        return [f"Evidence: {says}" for says in lacking]
    logger.warning("version %d goes on without evidence: %s", config.version, " ".join(lacking))
    return []


def cross_validated(config: EnsembleConfig) -> EvaluationReport | None:
    """The newest cross-validated report on what this version decides with. It shows what can be expected and proves
    nothing: its people took part in the making of the version."""
    return next((report for report in _all_reports(config) if report.data.get("cross_validated")), None)


def _all_reports(config: EnsembleConfig) -> QuerySet[EvaluationReport]:
    return EvaluationReport.objects.filter(digest=config_digest(config)).defer("html", "draws")


def _reports(config: EnsembleConfig) -> list[EvaluationReport]:
    return [report for report in _all_reports(config) if not report.data.get("cross_validated")]


def _no_report(config: EnsembleConfig) -> str:
    if cross_validated(config):
        return (
            f"What version {config.version} decides with was measured only on people who helped to fit it "
            "(cross-validated), which does not count. Run evaluate on others."
        )
    why = "the version was changed since it was measured" if config.reports.exists() else "it was never measured"
    return f"No report is on what version {config.version} decides with: {why}. Run evaluate."


def of_weights(config: EnsembleConfig) -> list[Line]:
    """Whether the thresholds were fitted for other weights; nothing where they were not, or nobody knows."""
    fitted = config.calibrated_on.get("weights")
    if not fitted:
        return []
    now = {member.artifact.name: member.weight for member in config.members.all()}
    both = {name: (fitted.get(name, 0.0), now.get(name, 0.0)) for name in sorted(fitted.keys() | now.keys())}
    changed = [f"{name} {old:g}, now {new:g}" for name, (old, new) in both.items() if abs(old - new) > 1e-6]
    if not changed:
        return []
    return [Line(False, f"The thresholds were fitted for other weights: {'; '.join(changed)}. Run calibrate.")]


def store_presentation(config: EnsembleConfig, data: Mapping[str, Any], manifest_digest: str) -> list[Line]:
    """Keep the figures of `evaluate_presentation`. The same version shown the same pictures again replaces them.

    Returns: how they meet this deployment's limits, whatever LIVENESS says.
    """
    PresentationReport.objects.update_or_create(
        config=config, digest=data["digest"], manifest_digest=manifest_digest, defaults={"data": data}
    )
    return _of_attacks(config, data)


def _of_presentation(config: EnsembleConfig) -> list[Line]:
    """What the newest report on the version's attack detector, as it is, shows; nothing where no policy enforces it.

    The newest one, not the best: with a cut that misses on new pictures, older ones that it met are no excuse.
    """
    if not conf.enforces_passive():
        return []
    why = "LIVENESS enforces passive"
    if not config.attack_detectors:
        return [Line(False, f"{why}, and version {config.version} has no network that looks for attacks.")]
    report = PresentationReport.objects.filter(digest=liveness_digest(config)).first()
    if report is None:
        changed = "was changed since its attacks were measured" if config.presentation_reports.exists() else "has none"
        says = f"{why}, which takes a report on attacks for just these networks and numbers. Version"
        return [Line(False, f"{says} {config.version} {changed}. Run evaluate_presentation.")]
    return _of_attacks(config, report.data)


def _of_attacks(config: EnsembleConfig, data: Mapping[str, Any]) -> list[Line]:
    people, species = data["bona_fide"], data["species"]
    most, refused = conf.get("APCER_LIMIT"), conf.get("BPCER_LIMIT")
    return [
        _count(people, "subjects", "people shown to the attack detector", MIN_BONA_FIDE),
        _apart(numbers.passive_people(config), data.get("people"), _ATTACK_DETECTOR),
        _rate(people["error"], "value", "The BPCER", refused, _OWN_CAMERAS),
        _rate(people["non_response"], "value", "The BPNRR", refused, "Bring larger pictures of faces."),
        *(
            _rate(item["error"], "high", f"The upper 95 % bound of the APCER of {name}", most, _OWN_CAMERAS)
            for name, item in sorted(species.items())
        ),
    ]


def _of(report: EvaluationReport, config: EnsembleConfig) -> list[Line]:
    data, limits = report.data, (conf.get("FMR_LIMIT"), conf.get("FNMR_LIMIT"))
    return [
        _count(data, "subjects", "subjects", MIN_SUBJECTS),
        _count(data, "mated", "mated comparisons", MIN_MATED),
        _count(data, "non_mated", "non-mated comparisons", MIN_NON_MATED),
        _apart(config.calibrated_on.get("subjects"), report.measured_on.get("subjects"), _VERSION),
        _rate(
            data.get("fmr"), "high", "The upper 95 % bound of the FMR", limits[0], "Calibrate at a lower target_fmr."
        ),
        _rate(data.get("fnmr"), "value", "The FNMR", limits[1], "Bring better pictures, or better members."),
    ]


def _of_rosters(config: EnsembleConfig) -> list[Line]:
    """Nothing for a version that cannot identify."""
    if not config.identification:
        return []
    own = identification_digest(config)
    reports = [report for report in _reports(config) if report.data.get("identification_digest") == own]
    rows = [row for report in reports for row in report.data["identification"] if row["candidates"] in ROSTERS]
    measured = [row for row in rows if not row["extrapolated"]]
    if not set(ROSTERS) <= {row["candidates"] for row in measured}:
        sizes = " ".join(map(str, ROSTERS))
        return [Line(False, f"Nobody was identified on rosters of {sizes}. Run evaluate with --identify {sizes}.")]
    target = float(config.identification["target_fpir"])
    worst = max(measured, key=lambda row: row["fpir"]["value"])
    rate, most = worst["fpir"], FPIR_FACTOR * target
    says = (
        f"The FPIR on {worst['candidates']} candidates is {rate['value']:.3%} ({rate['low']:.3%} – {rate['high']:.3%})"
    )
    return [
        Line(
            rate["value"] <= most and rate["low"] <= target,
            f"{says}, at most {most:.3%}, its interval not wholly above {target:.3%}.",
        )
    ]


def _count(data: Mapping[str, Any], key: str, words: str, needed: int) -> Line:
    count = int(data.get(key) or 0)
    more = "on more people" if key == "subjects" else "with --all-pairs, or on more people"
    advice = f" Measure {more}." if count < needed else ""
    return Line(count >= needed, f"{count:,} {words} of at least {needed:,}.{advice}")


def _apart(calibrated: Sequence[str] | None, measured: Sequence[str] | None, fit: _Fit) -> Line:
    if not calibrated:
        return Line(False, f"Nobody recorded on whom {fit.what} was calibrated. Run {fit.calibrate}.")
    if not measured:
        return Line(False, f"Nobody recorded on whom {fit.what} was measured. Run {fit.evaluate}.")
    shared = len(set(calibrated) & set(measured))
    if shared:
        return Line(False, f"{shared:,} of the people measured were used to calibrate {fit.what}. {fit.advice}")
    return Line(True, f"None of the people measured was used to calibrate {fit.what}.")


def _rate(rate: Mapping[str, float] | None, side: str, words: str, limit: float, advice: str) -> Line:
    value = (rate or {}).get(side)
    if value is None:
        return Line(False, f"{words} was not measured.")
    met = value <= limit
    return Line(met, f"{words} is {value:.3%}, {'within' if met else 'over'} {limit:.3%}.{'' if met else f' {advice}'}")
