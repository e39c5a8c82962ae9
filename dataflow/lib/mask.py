"""What stands where something is not shown."""

from __future__ import annotations

MASK = "***"
