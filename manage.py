#!/usr/bin/env python
"""Entry point of every command: ``python manage.py help`` lists them."""

from __future__ import annotations

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    """Run the command; a bad environment variable ends in one clear line, not in a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dataflow.settings")
    try:
        settings.INSTALLED_APPS  # noqa: B018 - reading any setting loads them all, and that is what may be refused
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
