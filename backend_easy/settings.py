"""Settings of the host service. Everything that differs between deployments comes from the environment."""

import json
import os
from datetime import timedelta
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from backend_easy import database
from backend_easy.probes import PATHS as PROBES

BASE_DIR = Path(__file__).resolve().parent.parent


def required(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise ImproperlyConfigured(
        f"The environment variable {name} is not set; it has no safe default. "
        "`make run` sets it for development; config/env.example lists all of them."
    )


def secret(name: str) -> str:
    """A value that nobody can guess: the ones that stand in examples and tutorials stop the start."""
    value = required(name)
    if not DEBUG and (len(value) < 32 or len(set(value)) < 5 or value.startswith("django-insecure-")):
        raise ImproperlyConfigured(
            f"The environment variable {name} is a default or too short: set 32 random characters or more. "
            "config/env.example says how to make them."
        )
    return value


def flag(name: str, default: str = "0") -> bool:
    return os.environ.get(name, default).lower() in ("1", "true", "yes")


DEBUG = flag("DEBUG")
SECRET_KEY = secret("SECRET_KEY")
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
CSRF_TRUSTED_ORIGINS = [origin for origin in os.environ.get("CSRF_TRUSTED_ORIGINS", "").split(",") if origin]

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "backend_easy.api_keys",
    "ml_models",
]
MIDDLEWARE = [
    "backend_easy.probes.ProbeMiddleware",
    "ml_models.api.fallback.ProblemMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
# pages of other origins that may call the API from a browser, by their own tokens and never by cookies; none by default
CORS_ALLOWED_ORIGINS = [origin for origin in os.environ.get("CORS_ALLOWED_ORIGINS", "").split(",") if origin]
if CORS_ALLOWED_ORIGINS:
    INSTALLED_APPS.append("corsheaders")
    MIDDLEWARE.insert(0, "corsheaders.middleware.CorsMiddleware")  # before all that may answer
    CORS_URLS_REGEX = r"^/api/"
    CORS_EXPOSE_HEADERS = ["Retry-After", "X-Request-ID"]

ROOT_URLCONF = "backend_easy.urls"
WSGI_APPLICATION = "backend_easy.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "backend_easy" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

_statement_timeout = os.environ.get("DATABASE_STATEMENT_TIMEOUT_S")
DATABASES = {
    "default": database.configured(
        required("DATABASE_URL"),
        # whatever serves requests sets it before this is read: config/gunicorn.conf.py, wsgi.py, asgi.py
        pool=int(os.environ.get("DATABASE_POOL", "0")),
        statement_timeout_s=float(_statement_timeout) if _statement_timeout else None,
    ),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "backend_easy.permissions.PermissionsAtOnce"]
# log-ins into the admin. A name is locked for the address that guessed, never for everybody: a stranger who knows the
# operator's name does not keep the operator out. `manage.py axes_reset_username NAME` ends a lock before its time
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "backend_easy.clients.address"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_LOCKOUT_TEMPLATE = "429.html"
# proxies of ours before the service; each appends to X-Forwarded-For whom it saw
PROXIES = int(os.environ.get("PROXIES", "1" if flag("BEHIND_TLS") else "0"))
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

REDIS_URL = required("REDIS_URL")
CACHE_TIMEOUT_S = 0.02
CACHES = {
    "default": {
        "BACKEND": "backend_easy.cache.RedisCache",
        "LOCATION": REDIS_URL,
        # no verify waits longer than 50 ms for a cache that is gone: to connect, and for an answer, once
        "OPTIONS": {"socket_connect_timeout": CACHE_TIMEOUT_S, "socket_timeout": CACHE_TIMEOUT_S},
    }
}

CELERY_BROKER_URL = REDIS_URL
# a worker outlives a broker that does not answer
CELERY_BROKER_TRANSPORT = "ml_models.broker:Transport"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# longer than a chunk's lease, so that the database and not the broker decides who works on it
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 120,
    "socket_connect_timeout": 5,
    "socket_timeout": 5,
    "socket_keepalive": True,
}
# an operator's call hands a hint to the queue; when the queue is gone, the next tick does
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_ROUTES = {"ml_models.*": {"queue": "ml_models"}}
CELERY_BEAT_SCHEDULE = {
    f"ml_models-{name}": {"task": f"ml_models.{name}", "schedule": seconds, "options": {"expires": seconds}}
    for name, seconds in (("tick", 10.0), ("audit", 10.0), ("remove_expired", 600.0))
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "backend_easy.api_keys.authentication.ApiKeyAuthentication",
        # for callers from before the keys: these tokens do not expire, and lie in the database as they are
        "rest_framework.authentication.TokenAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Face verification",
    "VERSION": "1",
    "DESCRIPTION": "Enroll and verify faces. Errors are RFC 9457 problem documents with a stable `code`.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "ENUM_NAME_OVERRIDES": {
        "VersionStateEnum": "ml_models.models.EnsembleConfig.State",
        "RolloutStateEnum": "ml_models.models.Rollout.State",
    },
}

ML_MODELS = {
    "CREDENTIAL": "backend_easy.api_keys.authentication.credential",
    "AUTOSTART": flag("ML_MODELS_AUTOSTART"),
    "BUCKET": os.environ.get("ML_MODELS_BUCKET", "easypool-ml-models"),
    "PREFIX": os.environ.get("ML_MODELS_PREFIX", "face_recognition/models/"),
    "CACHE_DIR": os.environ.get("ML_MODELS_CACHE_DIR", str(BASE_DIR / "var" / "artifacts")),
    "KEYSET": required("ML_MODELS_KEYSET"),
    "BINDING": os.environ.get("ML_MODELS_BINDING", "bind"),
    "INFERENCE": os.environ.get("ML_MODELS_INFERENCE", "auto"),
    "SLOTS": int(os.environ["ML_MODELS_SLOTS"]) if os.environ.get("ML_MODELS_SLOTS") else None,
    "SLOTS_DIR": os.environ.get("ML_MODELS_SLOTS_DIR"),
    "MAX_WAIT_S": float(os.environ.get("ML_MODELS_MAX_WAIT_S", "2")),
    "METRICS_TOKEN": os.environ.get("ML_MODELS_METRICS_TOKEN"),
    "NONCOMMERCIAL": flag("ML_MODELS_NONCOMMERCIAL"),
    "LIVENESS": json.loads(os.environ.get("ML_MODELS_LIVENESS", "{}")),
    "EVIDENCE_GATE": os.environ.get("ML_MODELS_EVIDENCE_GATE", "enforce"),
    "SECOND_PERSON": flag("ML_MODELS_SECOND_PERSON"),
    "FMR_LIMIT": float(os.environ.get("ML_MODELS_FMR_LIMIT", "0.001")),
    "FNMR_LIMIT": float(os.environ.get("ML_MODELS_FNMR_LIMIT", "0.01")),
    "APCER_LIMIT": float(os.environ.get("ML_MODELS_APCER_LIMIT", "0.05")),
    "BPCER_LIMIT": float(os.environ.get("ML_MODELS_BPCER_LIMIT", "0.05")),
    "LIMITS": {
        "caller": (int(os.environ.get("ML_MODELS_CALLER_PER_MINUTE", "3000")), 60),
        "subject": (int(os.environ.get("ML_MODELS_SUBJECT_PER_MINUTE", "600")), 60),
        "candidates": (int(os.environ.get("ML_MODELS_CANDIDATES_PER_MINUTE", "30000")), 60),
        # over ten minutes: a bus is boarded in a rush
        "searches": (10 * int(os.environ.get("ML_MODELS_SEARCHES_PER_MINUTE", "600")), 600),
    },
    "SHADOW_SHARE": float(os.environ.get("ML_MODELS_SHADOW_SHARE", "0.1")),
    "TRY_PAGE": flag("ML_MODELS_TRY_PAGE", os.environ.get("DEBUG", "0")),
    "RETENTION_DAYS": int(os.environ.get("ML_MODELS_RETENTION_DAYS", "365")),
    "LOCKOUT_AFTER": int(os.environ.get("ML_MODELS_LOCKOUT_AFTER", "5")),
    "LOCKOUT_S": int(os.environ.get("ML_MODELS_LOCKOUT_S", "300")),
    "HONEST_FAILURE_RATE": float(os.environ.get("ML_MODELS_HONEST_FAILURE_RATE", "0.05")),
    "REENROL_WINDOW_DAYS": int(os.environ.get("ML_MODELS_REENROL_WINDOW_DAYS", "30")),
}

LOGIN_REDIRECT_URL = "admin:index"
LOGOUT_REDIRECT_URL = "admin:login"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = ["backend_easy.formats"]
STATIC_URL = "static/"
STATIC_ROOT = os.environ.get("STATIC_ROOT", str(BASE_DIR / "var" / "static"))
WHITENOISE_USE_FINDERS = DEBUG
# uploads of up to five frames; the app caps each picture again by its own limit
DATA_UPLOAD_MAX_MEMORY_SIZE = 100 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 100 * 1024 * 1024  # a face never lies in a temporary file

UNFOLD = {
    "ENVIRONMENT": "ml_models.admin.notices.environment",
    "SITE_TITLE": "Face verification",
    "SITE_URL": None,  # the site is the panel
    "SITE_HEADER": "Face verification",
    "SITE_SYMBOL": "familiar_face_and_zone",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "backend_easy.panel.icon"}],
    "STYLES": ["backend_easy.panel.styles"],
    "SCRIPTS": ["backend_easy.panel.scripts"],
    "SIDEBAR": {"navigation": "backend_easy.panel.sidebar"},
}

if flag("BEHIND_TLS"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [rf"^{path.lstrip('/')}$" for path in PROBES]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
        "json": {"()": "backend_easy.logs.JsonFormatter"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": os.environ.get("LOG_FORMAT", "plain")}},
    "root": {"handlers": ["console"], "level": os.environ.get("LOG_LEVEL", "INFO")},
}
