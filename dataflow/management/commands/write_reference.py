"""``manage.py write_reference``: the reference pages of task types, from the task types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dataflow.reference import COMMAND, reference
from tasks_lib import registry


class Command(BaseCommand):
    """Writes ``docs/task-types``; with ``--check`` only says whether it is up to date."""

    help = "Write the reference of every task type there is, those of installed packages too, as Markdown."

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to, and whether only to look."""
        folder = Path(settings.BASE_DIR) / "docs" / "task-types"
        parser.add_argument("--folder", type=Path, default=folder, help="where to write; docs/task-types unless given")
        parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is out of date")

    def handle(self, *_args: Any, folder: Path, check: bool, **_options: Any) -> None:
        """Write what changed, remove what is of no type any more. Raises ``CommandError``."""
        wanted = reference(registry.all())
        there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
        # A file that this did not write is somebody's own.
        there = {name: text for name, text in there.items() if name in wanted or COMMAND in text}
        changed = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        if check and changed:
            raise CommandError(f"Out of date in {folder}: {', '.join(changed)}. Run: {COMMAND}")
        folder.mkdir(parents=True, exist_ok=True)
        for name in changed:
            if name in wanted:
                (folder / name).write_text(wanted[name], encoding="utf-8")
            else:
                (folder / name).unlink()
        self.stdout.write(f"{folder}: {len(wanted)} files, {len(changed)} changed.")
