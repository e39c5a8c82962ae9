"""``manage.py doctor``: what is missing, and how to mend it."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from dataflow import doctor


class Command(BaseCommand):
    """Prints a line for each thing looked at; exit code 1 when one failed."""

    help = "Look at database, workers, storage, ffmpeg and keys, and say how to mend what is missing."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--json``."""
        parser.add_argument("--json", action="store_true", help="print a JSON list instead of lines")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Print the findings."""
        findings = list(doctor.examine())
        if options["json"]:
            self.stdout.write(json.dumps([finding.as_json() for finding in findings], indent=2))
        else:
            self.stdout.write("\n".join(finding.as_line() for finding in findings))
        if any(finding.level == "fail" for finding in findings):
            sys.exit(1)
