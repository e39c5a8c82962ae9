"""``manage.py rotate_secrets``: everything encrypted gets the newest of ``DATAFLOW_ENCRYPTION_KEYS``."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from executions.rotation import rotate

#: Values that no key opens, told by name for each column.
_TOLD = 20


class Command(BaseCommand):
    """Renews secrets, connections, keys of executions and webhook secrets, and says how many."""

    help = "Encrypt everything that is stored encrypted with the newest key. Safe while the system works, and twice."

    def handle(self, **_: Any) -> None:
        """Run to the end, then say what is left under an older key."""
        left = 0
        for name, counts in rotate().items():
            line = f"{name}: {counts.renewed} renewed, {counts.current} had the newest key"
            line += f", {counts.changed} changed meanwhile" if counts.changed else ""
            self.stdout.write(line)
            for key in counts.unreadable[:_TOLD]:
                self.stderr.write(f"  {name} of {key}: no key opens it; it is left as it is")
            if len(counts.unreadable) > _TOLD:
                self.stderr.write(f"  and {len(counts.unreadable) - _TOLD} more")
            left += counts.renewed + counts.changed
        if left:
            self.stdout.write("Run it once more before you remove the older keys: what began meanwhile may have one.")
