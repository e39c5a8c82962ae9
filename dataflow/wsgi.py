"""WSGI entry point: ``gunicorn dataflow.wsgi``. Files with hashed names are served by WhiteNoise."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dataflow.settings")

application = get_wsgi_application()
