"""``manage.py up``: prepare the installation and run all of it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from dataflow import startup


class Command(BaseCommand):
    """Runs web server, workers and (without an OpenAI key) the local voice until Ctrl-C."""

    help = "Prepare the database and run web server and workers together until Ctrl-C. See README for its settings."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Run until a signal comes."""
        startup.run(self._line)

    def _line(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
