"""The app's settings, read from `settings.ML_MODELS` at each use so that tests and reloads see changes."""

from pathlib import Path
from typing import Any, Literal

from django.conf import settings

Mode = Literal["off", "monitor", "enforce"]
LIVENESS_MODES: tuple[Mode, ...] = ("off", "monitor", "enforce")
LIVENESS_PARTS = ("challenge", "passive")

DEFAULTS: dict[str, Any] = {
    # start pulling and loading the networks when the app starts: on in web and worker processes only
    "AUTOSTART": False,
    # dotted path of an `artifacts.storage.Storage`; `ml_models.artifacts.folder.FolderStorage` needs no bucket
    "STORAGE": "ml_models.artifacts.gcs.GcsStorage",
    # the bucket's name, or the folder's path
    "BUCKET": "easypool-ml-models",
    "PREFIX": "face_recognition/models/",
    # verified model files, named by their sha256
    "CACHE_DIR": "var/artifacts",
    # beyond so many bytes the files used longest ago go, when another one comes
    "CACHE_BYTES": 4 * 1024**3,
    # JSON: {"primary": key id, "keys": {key id: 32 bytes in base64}}
    "KEYSET": None,
    # a deployment that earns no money may run weights whose commercial use is unknown
    "NONCOMMERCIAL": False,
    # "enforce": a version without the evidence that `evidence` asks for goes nowhere; "warn" for development
    "EVIDENCE_GATE": "enforce",
    # what the evidence must show: the FMR's upper 95 % bound, and the FNMR on this deployment's own kind of pictures
    "FMR_LIMIT": 0.001,
    "FNMR_LIMIT": 0.01,
    # the same of a version's attack detector, asked for where LIVENESS enforces `passive` for any purpose: the upper
    # 95 % bound of each species' APCER, and the BPCER and BPNRR
    "APCER_LIMIT": 0.05,
    "BPCER_LIMIT": 0.05,
    # a version is activated by two people: one opens the rollout, another one gives the Go
    "SECOND_PERSON": False,
    # changes to ml_models.config.FACE_RECOGNITION_MODELS, by family
    "FAMILIES": {},
    # dotted path of a `policy(user, action, subject_id) -> bool`; see `ml_models.api.access`
    "SUBJECT_POLICY": "ml_models.api.access.default_policy",
    # dotted path of a `policy(user, action, group_id) -> bool`; see `ml_models.api.access`
    "GROUP_POLICY": "ml_models.api.access.default_group_policy",
    # dotted path of a `credential(request) -> str`: an opaque name, at most 64 characters, of the key in use
    "CREDENTIAL": "ml_models.api.callers.account",
    # dotted path of a `crypto.KeyProvider`
    "KEY_PROVIDER": "ml_models.crypto.EnvironmentKeys",
    # chips and vectors are bound to their subject. "bind": what was written before the binding is still read;
    # "introduce": it is still written, too, while processes of an earlier release run; "require": it is refused
    "BINDING": "bind",
    # (uses, seconds) for one caller over all calls, for one subject over all callers, and for one credential's
    # candidates and searches: identifying among N people is N guesses, and among a few, n, as good as 50/n searches
    # for a chosen one of them, over ten minutes, since a bus is boarded in a rush. None for no limit
    "LIMITS": {"caller": (3000, 60), "subject": (600, 60), "candidates": (30_000, 60), "searches": (6000, 600)},
    # so many `no_match` on a subject lock it, first for LOCKOUT_S, then twice as long each time, at most LOCKOUT_MAX_S;
    # a day forgets one of them, and half of the length. LOCKOUT_AFTER 0: nothing is counted, nobody locked or slowed
    "LOCKOUT_AFTER": 5,
    "LOCKOUT_S": 300,
    "LOCKOUT_MAX_S": 86_400,
    # so many of them with one credential slow that credential for the subject, by the same lengths, before the subject
    # is locked for everybody; LOCKOUT_AFTER or more for never
    "SLOW_AFTER": 3,
    # the share of a credential's visits that honest people fail: far above it, the credential is suspected and slowed;
    # 1 for never. Five times the FNMR that the evidence gate lets through
    "HONEST_FAILURE_RATE": 0.05,
    # so long an erased subject is enrolled again only by who may override a mismatch; 0 for no such time
    "REENROL_WINDOW_DAYS": 30,
    # days after which a verify's audit row, and its score in the shadow, are deleted; 0 or None keeps them for ever
    "RETENTION_DAYS": 365,
    # dotted path of an `account(subject_id) -> primary key or None`: the subject's own account, whose name an erasure
    # takes off audit rows; see `ml_models.services.accounts`
    "SUBJECT_ACCOUNT": "ml_models.services.accounts.same_key",
    # audit events are deleted after so many days, and leave a signed checkpoint; 0 or None for never
    "AUDIT_DAYS": 1095,
    # whether somebody is there, by purpose (verify, enroll, identify) and by what tells it (`challenge`: asked steps;
    # `passive`: a network that looks for pictures and screens): "off", "monitor" (looked at and told, never refused) or
    # "enforce". A challenge that is sent must always be passed
    "LIVENESS": {},
    # seconds in which a challenge has to be answered
    "CHALLENGE_S": 40,
    # dotted path of a class that checks the phone's attestation token of enroll, verify and identify; None for no
    # such check. See `ml_models.api.attestation`
    "ATTESTATION": None,
    # whether `try/` is there: a page that enrolls and verifies with the camera of a phone or computer. It holds
    # no key: whoever opens it gives one
    "TRY_PAGE": False,
    "MAX_IMAGE_BYTES": 12 * 1024 * 1024,
    # a whole request, refused by its Content-Length before it is parsed
    "MAX_REQUEST_BYTES": 40 * 1024 * 1024,
    "MAX_REFERENCES": 10,
    "MAX_FRAMES": 5,
    # networks' threads for one call; requests run side by side, so one is fastest in sum
    "THREADS_PER_CALL": 1,
    # how many computations run at the same time on this host, over all its processes; None for one a core
    "SLOTS": None,
    # a folder that all of them can write, on this host: who computes holds a lock there; None for one in CACHE_DIR
    "SLOTS_DIR": None,
    # a verify or an enrolment that would wait longer for a core is refused: `overloaded`
    "MAX_WAIT_S": 2.0,
    # what runs the networks: "onnxruntime" (the detector: OpenCV); "openvino", where it is installed and gives the same
    # answers; or "auto", the quicker one of them
    "INFERENCE": "auto",
    # opens `/metrics` to whoever sends it as a bearer token; without one, only accounts that may see serving processes
    "METRICS_TOKEN": None,
    # how often a process looks for versions to load and reports what it has
    "HEARTBEAT_S": 5.0,
    "ROLLBACK_WINDOW_DAYS": 7,
    # chunks of a rollout handed out at a time, at least; two for each live worker keep all of them busy
    "CHUNKS_IN_FLIGHT": 4,
    # the kind of process of which at least one must live and have loaded a version at its cut-over: "web", or "worker"
    # where the host verifies in Celery workers only
    "QUORUM": "web",
    # the share of references that a cut-over may leave behind, to be enrolled again; one at least, unless it is 0
    "FAILURES_ALLOWED": 0.001,
    # the share of live verifies that are scored under a version on its way, too; 0 for none
    "SHADOW_SHARE": 0.1,
}


def get(name: str) -> Any:
    """A setting's value; KeyError for a name that does not exist."""
    return getattr(settings, "ML_MODELS", {}).get(name, DEFAULTS[name])


def liveness(purpose: str) -> dict[str, Mode]:
    """What is asked of an attempt, by `LIVENESS_PARTS`: `LIVENESS[purpose]`, `off` where it is silent. Whatever is none
    of `LIVENESS_MODES` enforces."""
    asked = get("LIVENESS").get(purpose) or {}
    return {part: mode if (mode := asked.get(part, "off")) in LIVENESS_MODES else "enforce" for part in LIVENESS_PARTS}


def enforces_passive() -> bool:
    """Whether the attack detector's verdict refuses anybody, for any purpose."""
    return any(liveness(purpose)["passive"] == "enforce" for purpose in get("LIVENESS"))


def cache_dir() -> Path:
    return Path(get("CACHE_DIR"))
