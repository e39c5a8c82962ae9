"""``manage.py forget``: deletes what is past its time at once, instead of bit by bit by the workers."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from executions import forgetting


class Command(BaseCommand):
    """Deletes old executions and files, as the retention settings say. Doing it again changes nothing."""

    help = "Delete executions and files that are past DATAFLOW_RETENTION_DAYS and DATAFLOW_FILE_RETENTION_DAYS."

    def add_arguments(self, parser: CommandParser) -> None:
        """``--dry-run``."""
        parser.add_argument("--dry-run", action="store_true", help="only say how many they are")

    def handle(self, *arguments: Any, **options: Any) -> None:
        """Delete, or count, and say how many."""
        found = forgetting.count() if options["dry_run"] else forgetting.forget()
        verb = "would be deleted" if options["dry_run"] else "deleted"
        self.stdout.write(
            f"{found.executions} executions, {found.files} files that nobody needs and "
            f"{found.leftovers} leftovers in the storage {verb}."
        )
