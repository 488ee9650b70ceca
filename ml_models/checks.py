"""`manage.py check` for this app."""

from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.utils.module_loading import import_string

from . import conf, crypto
from .artifacts import engines
from .engine.inference import why_not_openvino
from .services import challenges
from .versions import evidence

_MIN_TOKEN = 20
# what bounds guessing: the least and the most that still does
_BOUNDS = {
    "LOCKOUT_AFTER": (0, 1000),
    "LOCKOUT_S": (1, 31_536_000),
    "LOCKOUT_MAX_S": (1, 31_536_000),
    "SLOW_AFTER": (1, 1000),
    "HONEST_FAILURE_RATE": (0, 1),
    "REENROL_WINDOW_DAYS": (0, 36_500),
}
# of the PostgreSQL server: what it writes into its own log of a statement that fails
_SILENT_LOG = {"log_min_error_statement": "panic", "log_error_verbosity": "terse"}


@register()
def check_database(**_: Any) -> list[CheckMessage]:
    if settings.DATABASES["default"]["ENGINE"].endswith("postgresql"):
        return []
    hint = "Partial constraints, row locks and advisory locks carry the rollouts; other databases lack some of them."
    return [Error("ml_models needs PostgreSQL as the default database.", hint=hint, id="ml_models.E001")]


@register(Tags.database)
def check_database_log(**_: Any) -> list[CheckMessage]:
    """Run by `migrate`, and by `check --database default`."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(_SILENT_LOG)])
            logs = dict(cursor.fetchall()) != _SILENT_LOG
    except DatabaseError:  # whoever asks for it says so
        return []
    hint = "Set " + " and ".join(f"{name} = {value}" for name, value in _SILENT_LOG.items()) + " on the server."
    text = "The database server's log names subjects: it writes statements that fail, with their values."
    return [checks.Warning(text, hint=hint, id="ml_models.W004")] if logs else []


@register()
def check_settings_names(**_: Any) -> list[CheckMessage]:
    unknown = sorted(set(getattr(settings, "ML_MODELS", {})) - set(conf.DEFAULTS))
    hint = f"Known are: {', '.join(sorted(conf.DEFAULTS))}."
    return [Error(f"ML_MODELS has an unknown setting {name}.", hint=hint, id="ml_models.E002") for name in unknown]


@register()
def check_keyset(**_: Any) -> list[CheckMessage]:
    try:
        keys = crypto.provider()
        keys.key(keys.primary)
    except (ImproperlyConfigured, ImportError, KeyError) as error:
        return [Error("The keyset is missing or not usable.", hint=str(error), id="ml_models.E003")]
    return []


def _none_of(name: str, allowed: tuple[str, ...], number: str, otherwise: str = "") -> list[CheckMessage]:
    """An error where a setting has none of its values; `otherwise` says what is done then."""
    value = conf.get(name)
    if value in allowed:
        return []
    hint = f"It is one of {', '.join(allowed)}{otherwise}."
    return [Error(f"{name} is {value!r}.", hint=hint, id=f"ml_models.{number}")]


@register()
def check_binding(**_: Any) -> list[CheckMessage]:
    return _none_of("BINDING", crypto.BINDINGS, "E005", "; anything else refuses what is not bound")


@register()
def check_evidence_gate(**_: Any) -> list[CheckMessage]:
    if wrong := _none_of("EVIDENCE_GATE", evidence.MODES, "E004", "; anything else enforces"):
        return wrong
    if conf.get("EVIDENCE_GATE") == "enforce":
        return []
    text = "This deployment only warns of missing evidence: versions may serve that nobody has measured."
    return [checks.Warning(text, hint="Unset EVIDENCE_GATE where decisions are about people.", id="ml_models.W002")]


@register()
def check_noncommercial(**_: Any) -> list[CheckMessage]:
    if not conf.get("NONCOMMERCIAL"):
        return []
    text = "This deployment declares itself non-commercial: weights of unknown commercial use may be activated."
    return [checks.Warning(text, hint="Unset NONCOMMERCIAL for a service that earns money.", id="ml_models.W001")]


@register()
def check_retention(**_: Any) -> list[CheckMessage]:
    hint = "A whole number of days; 0 or None keeps the rows for ever."
    days = {name: conf.get(name) for name in ("RETENTION_DAYS", "AUDIT_DAYS")}
    return [
        Error(f"{name} is {value!r}.", hint=hint, id="ml_models.E007")
        for name, value in days.items()
        if not (value is None or (isinstance(value, int) and value >= 0))
    ]


@register()
def check_guessing(**_: Any) -> list[CheckMessage]:
    """A lock of no seconds ends as it begins, and nobody would notice."""
    return [
        Error(f"{name} is {value!r}.", hint=f"A number from {low} to {high}.", id="ml_models.E015")
        for name, (low, high) in _BOUNDS.items()
        if not (isinstance(value := conf.get(name), int | float) and low <= value <= high)
    ]


@register()
def check_limits(**_: Any) -> list[CheckMessage]:
    limits, known = conf.get("LIMITS"), conf.DEFAULTS["LIMITS"]
    if isinstance(limits, dict) and limits.keys() <= known.keys() and all(map(_is_limit, limits.values())):
        return []
    hint = f"By scope ({', '.join(known)}) a pair (uses, seconds) of whole numbers above 0, or None for no limit."
    return [Error(f"LIMITS is {limits!r}.", hint=hint, id="ml_models.E016")]


def _is_limit(value: Any) -> bool:
    return value is None or (
        isinstance(value, tuple | list)
        and len(value) == 2
        and all(isinstance(number, int) and number > 0 for number in value)
    )


@register()
def check_inference(**_: Any) -> list[CheckMessage]:
    if wrong := _none_of("INFERENCE", engines.SETTINGS, "E010"):
        return wrong
    setting = conf.get("INFERENCE")
    if setting == "openvino" and (reason := why_not_openvino()):
        return [Error("INFERENCE asks for OpenVINO, which cannot be used.", hint=reason, id="ml_models.E011")]
    if setting == "auto" and find_spec("openvino") and (reason := why_not_openvino()):
        return [checks.Warning("OpenVINO is installed and not used.", hint=reason, id="ml_models.W003")]
    return []


@register()
def check_liveness(**_: Any) -> list[CheckMessage]:
    asked = conf.get("LIVENESS")
    known = {purpose: set(conf.LIVENESS_PARTS) for purpose in challenges.PURPOSES}
    if isinstance(asked, dict) and all(
        purpose in known
        and isinstance(parts, dict)
        and parts.keys() <= known[purpose]
        and set(parts.values()) <= set(conf.LIVENESS_MODES)
        for purpose, parts in asked.items()
    ):
        return []
    hint = (
        f"By purpose ({', '.join(known)}) a dict of {' and '.join(conf.LIVENESS_PARTS)}, each one of "
        f"{', '.join(conf.LIVENESS_MODES)}: {{'verify': {{'challenge': 'monitor'}}}}."
    )
    return [Error(f"LIVENESS is {asked!r}.", hint=hint, id="ml_models.E013")]


@register()
def check_attestation(**_: Any) -> list[CheckMessage]:
    path = conf.get("ATTESTATION")
    try:
        if path is None or callable(import_string(path).accepts):
            return []
        reason = "its accepts is no method"
    except (AttributeError, ImportError, TypeError) as error:
        reason = str(error)
    hint = f"The dotted path of a class with accepts(token, request), or None ({reason})."
    return [Error(f"ATTESTATION is {path!r}: every call is refused.", hint=hint, id="ml_models.E014")]


@register()
def check_metrics_token(**_: Any) -> list[CheckMessage]:
    token = conf.get("METRICS_TOKEN")
    if not token or len(token) >= _MIN_TOKEN:
        return []
    hint = f"Use at least {_MIN_TOKEN} random characters: it is all that stands before /metrics."
    return [Error("METRICS_TOKEN is too short.", hint=hint, id="ml_models.E012")]
