"""A Django project as `startproject` makes it, with the shop's own ways, and the five lines of ml_models."""

import os

import dj_database_url

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = [
    "unfold",  # the app's pages of the admin
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "people",
    "ml_models",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "shop.urls"
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
STATIC_URL = "static/"
USE_TZ = True
AUTH_USER_MODEL = "people.Person"
DATABASES = {"default": {**dj_database_url.parse(os.environ["DATABASE_URL"]), "ATOMIC_REQUESTS": True}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": os.environ["REDIS_URL"]}}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["shop.rest.GatewayAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["shop.rest.DenyAll"],
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.FormParser"],
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"anon": "0/day"},
    "EXCEPTION_HANDLER": "shop.rest.exception_handler",
    "UNAUTHENTICATED_USER": None,
}

SHOP_BROKER_URL = os.environ["REDIS_URL"]
SHOP_TASK_ROUTES = {"ml_models.*": {"queue": "faces"}}

ML_MODELS = {
    "KEYSET": os.environ["ML_MODELS_KEYSET"],
    "PREFIX": os.environ["ML_MODELS_PREFIX"],
    "CACHE_DIR": os.environ["ML_MODELS_CACHE_DIR"],
    "NONCOMMERCIAL": True,  # the demo pack's licences
    "EVIDENCE_GATE": "warn",  # and nobody has measured it for this shop
    "SUBJECT_POLICY": "shop.rest.policy",
}
