"""Settings of the host service. Everything that differs between deployments comes from the environment."""

import os
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

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
    "backend_easy.api_keys",
    "ml_models",
]
MIDDLEWARE = [
    "ml_models.api.fallback.ProblemMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# pages of other origins that may call the API from a browser, by their own tokens and never by cookies; none by default
CORS_ALLOWED_ORIGINS = [origin for origin in os.environ.get("CORS_ALLOWED_ORIGINS", "").split(",") if origin]
if CORS_ALLOWED_ORIGINS:
    INSTALLED_APPS.append("corsheaders")
    MIDDLEWARE.insert(0, "corsheaders.middleware.CorsMiddleware")  # before all that may answer
    CORS_URLS_REGEX = r"^/api/"
    CORS_EXPOSE_HEADERS = ["Retry-After"]

ROOT_URLCONF = "backend_easy.urls"
WSGI_APPLICATION = "backend_easy.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

DATABASES = {
    "default": dj_database_url.parse(required("DATABASE_URL"), conn_max_age=600, conn_health_checks=True),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

REDIS_URL = required("REDIS_URL")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        # nobody waits longer than this for a cache that is down
        "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5},
    }
}

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# longer than a chunk's lease, so that the database and not the broker decides who works on it
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 120, "socket_connect_timeout": 5}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_ROUTES = {"ml_models.*": {"queue": "ml_models"}}
CELERY_BEAT_SCHEDULE = {"ml_models-tick": {"task": "ml_models.tick", "schedule": 10.0, "options": {"expires": 10}}}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "backend_easy.api_keys.authentication.ApiKeyAuthentication",
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
    "COMPONENT_SPLIT_REQUEST": True,
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
    "INFERENCE": os.environ.get("ML_MODELS_INFERENCE", "auto"),
    "METRICS_TOKEN": os.environ.get("ML_MODELS_METRICS_TOKEN"),
    "NONCOMMERCIAL": flag("ML_MODELS_NONCOMMERCIAL"),
    "EVIDENCE_GATE": os.environ.get("ML_MODELS_EVIDENCE_GATE", "enforce"),
    "FMR_LIMIT": float(os.environ.get("ML_MODELS_FMR_LIMIT", "0.001")),
    "FNMR_LIMIT": float(os.environ.get("ML_MODELS_FNMR_LIMIT", "0.01")),
    "LIMITS": {
        "caller": (int(os.environ.get("ML_MODELS_CALLER_PER_MINUTE", "3000")), 60),
        "subject": (int(os.environ.get("ML_MODELS_SUBJECT_PER_MINUTE", "600")), 60),
    },
    "SHADOW_SHARE": float(os.environ.get("ML_MODELS_SHADOW_SHARE", "0.1")),
    "LOCKOUT_AFTER": int(os.environ.get("ML_MODELS_LOCKOUT_AFTER", "5")),
    "LOCKOUT_S": int(os.environ.get("ML_MODELS_LOCKOUT_S", "300")),
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = os.environ.get("STATIC_ROOT", str(BASE_DIR / "var" / "static"))
WHITENOISE_USE_FINDERS = DEBUG
# uploads of up to five frames; the app caps each picture again by its own limit
DATA_UPLOAD_MAX_MEMORY_SIZE = 100 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 100 * 1024 * 1024  # a face never lies in a temporary file

UNFOLD = {
    "ENVIRONMENT": "ml_models.admin.notices.environment",
    "SITE_TITLE": "Face verification",
    "SITE_HEADER": "Face verification",
    "SITE_SYMBOL": "familiar_face_and_zone",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "backend_easy.panel.icon"}],
    "SIDEBAR": {"navigation": "backend_easy.panel.sidebar"},
}

if flag("BEHIND_TLS"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": os.environ.get("LOG_LEVEL", "INFO")},
}
