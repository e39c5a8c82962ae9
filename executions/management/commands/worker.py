"""``manage.py worker``: runs this machine's worker processes until SIGTERM or Ctrl-C."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from executions.worker.cluster import Cluster


class Command(BaseCommand):
    """Starts worker processes; start it on as many machines as wanted, all on the same database."""

    help = "Runs worker processes that take and run executions."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Both default to the environment's ``WORKERS`` and ``WORKER_THREADS``."""
        parser.add_argument("--processes", type=int, default=settings.WORKERS)
        parser.add_argument("--threads", type=int, default=settings.WORKER_THREADS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped."""
        Cluster(processes=options["processes"], threads=options["threads"]).run()
