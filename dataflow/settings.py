"""Settings of the Data Flow Platform. What can be changed from outside is the table in ``dataflow/environment.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django_stubs_ext

from dataflow.environment import Environment

# Lets ``ModelAdmin[Workflow]`` and the like be written at run time; must come before the apps load.
django_stubs_ext.monkeypatch()

env = Environment()

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = env.flag("DEBUG")
HOST = env.text("HOST")
PORT = env.integer("PORT", minimum=1, maximum=65535)
DATA_DIR = env.data_dir()
WORKERS = env.integer("WORKERS", minimum=1, maximum=64)
WORKER_THREADS = env.integer("WORKER_THREADS", minimum=1, maximum=1000)
WORKER_NICE = env.integer("WORKER_NICE", minimum=0, maximum=19)

# --- keys and providers ---------------------------------------------------------------------------------------
SECRET_KEY = env.secret_key(data_dir=DATA_DIR, debug=DEBUG)
DATAFLOW_ENCRYPTION_KEYS = env.encryption_keys(data_dir=DATA_DIR, debug=DEBUG)
OPENAI_API_KEY = env.text("OPENAI_API_KEY")
OPENAI_BASE_URL = env.url("OPENAI_BASE_URL")
#: Where the local voice speaks the OpenAI protocol; empty in production, whatever the environment says.
DATAFLOW_LOCAL_VOICE_URL = env.url("DATAFLOW_LOCAL_VOICE_URL") if DEBUG else ""
DATAFLOW_ALLOWED_PRIVATE_HOSTS = env.items("DATAFLOW_ALLOWED_PRIVATE_HOSTS")
#: The table of what models cost.
DATAFLOW_PRICES = env.text("DATAFLOW_PRICES") or str(BASE_DIR / "dataflow" / "prices.json")

# --- application ----------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "dataflow",
    "executions",
    "workflows",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_htmx",
    "django_q",
    "csp",
]
MIDDLEWARE = [
    "dataflow.middleware.RequestIdMiddleware",
    "dataflow.middleware.ProxyMiddleware",
    "dataflow.middleware.RefusalMiddleware",
    "executions.uploads.UploadsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "dataflow.middleware.PagePolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "dataflow.middleware.LazyMessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "dataflow.urls"
WSGI_APPLICATION = "dataflow.wsgi.application"
ASGI_APPLICATION = "dataflow.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
#: Paths work with and without a trailing slash, with no redirect: the URL patterns see to that.
APPEND_SLASH = False
LOGIN_URL = "admin:login"
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
#: Bytes of a request body that is not a file.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

# --- database and files ---------------------------------------------------------------------------------------
DATABASES = {"default": env.database(data_dir=DATA_DIR)}
STORAGES = {
    "default": env.file_storage(data_dir=DATA_DIR),
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
#: Files on their way into the storage: on its disk, so that they are moved and not copied.
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "incoming"
FILE_UPLOAD_TEMP_DIR.mkdir(mode=0o700, exist_ok=True)
FILE_UPLOAD_HANDLERS = ["executions.uploads.SpoolingHandler"]
DATAFLOW_RETENTION_DAYS = env.days("DATAFLOW_RETENTION_DAYS")
DATAFLOW_FILE_RETENTION_DAYS = env.days("DATAFLOW_FILE_RETENTION_DAYS")
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
#: In development straight from the source folders; in production from STATIC_ROOT, with hashed names.
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG

# --- safety ---------------------------------------------------------------------------------------------------
ALLOWED_HOSTS = [*env.items("ALLOWED_HOSTS"), "localhost", "127.0.0.1", "[::1]"]
#: Whose word it is that a request came over TLS.
FORWARDED_ALLOW_IPS = frozenset(env.items("FORWARDED_ALLOW_IPS"))
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")
SECURE_SSL_REDIRECT = not DEBUG
#: A probe speaks plain HTTP to the process itself.
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz)/?$"]
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEBUG
SECURE_HSTS_PRELOAD = not DEBUG
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "media-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    },
}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

# --- REST framework -------------------------------------------------------------------------------------------
REST_FRAMEWORK: dict[str, Any] = {
    "EXCEPTION_HANDLER": "dataflow.api.errors.handle",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "dataflow.api.negotiation.Negotiation",
    "DEFAULT_PARSER_CLASSES": ["dataflow.api.parsers.StrictJsonParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.BasicAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["dataflow.api.permissions.ApiAccess"],
    # `?format=` is no parameter of ours.
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

# --- queue (django-q2): a doorbell that carries ids; the database is the truth ---------------------------------
Q_CLUSTER: dict[str, Any] = {
    "name": "dataflow",
    "orm": "default",
    # The execution's row is the message; the broker is only the bell.
    "broker_class": "executions.queue.PostgresBroker"
    if "postgresql" in DATABASES["default"]["ENGINE"]
    else "executions.queue.SqliteBroker",
    "workers": WORKERS,
    # A job's lock starts when it is fetched: fetch few ahead.
    "queue_limit": WORKERS,
    "bulk": 1,
    "poll": 0.05,
    # Our leases find lost work within 45 s; django-q2's own redelivery and kill are far-off backstops.
    "timeout": 24 * 3600,
    "retry": 25 * 3600,
    "max_attempts": 1,
    "ack_failures": True,
    # Rows of finished jobs cost more than the jobs; the history is in our own tables.
    "save_limit": -1,
    "recycle": 1_000_000,
    "catch_up": False,
    # Schedules resolve to 30 s and name any function: due times are in our rows.
    "scheduler": False,
    "guard_cycle": 0.5,
    "log_level": "WARNING",
} | env.json_object("Q_CLUSTER")

# --- logging --------------------------------------------------------------------------------------------------
LOG_LEVEL = env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "dataflow.logs.RequestIdFilter"},
        "not_unavailable": {"()": "dataflow.logs.NotUnavailable"},
    },
    "formatters": {"line": {"()": "dataflow.logs.LineFormatter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["request_id"], "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # django-q2 puts a handler of its own on its logger unless one is there.
        "django-q": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        # Below openai; a line for each request says nothing that the execution does not.
        "httpx2": {"level": "WARNING"},
        # The development server's lines, in our format: it hides the tokens in addresses of hooks.
        "django.server": {"handlers": ["console"], "propagate": False},
        # A 4xx is the client's business and an expected answer.
        "django.request": {"level": "ERROR", "filters": ["not_unavailable"]},
    },
}
