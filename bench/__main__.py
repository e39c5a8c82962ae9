"""``python -m bench``: measures all of ../shared/spec/7-performance.md, prints a table, writes JSON.

The work is three trivial tasks (a 13-character text, reversed, passed on), started over HTTP, every step durable, read
back over HTTP. PostgreSQL comes from the wheel and keeps fsync on. Each figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figures import Figure, failed, heading, line, unmet
from bench.installation import ROOT
from bench.measures import MEASURES
from bench.session import Session, Sizes, quick

logger = logging.getLogger("bench")


def measured(session: Session, names: list[str]) -> Iterator[Figure]:
    """The figures of these measures, as they come; one that fails says so and the next is taken."""
    for name in names:
        try:
            yield from MEASURES[name](session)
        except Exception as error:
            # Whatever goes wrong with one measure, hours of others are not lost.
            logger.exception("%s failed", name)
            yield failed(name, str(error)[:200] or type(error).__name__)
            session.restart()


def run(kind: str, options: argparse.Namespace) -> list[Figure]:
    """Measure on one kind of database and print the table."""
    sizes = quick(rounds=options.rounds or 1, rows=options.rows or 2000) if options.quick else None
    sizes = sizes or Sizes(rounds=options.rounds or 3, rows=options.rows or 1_000_000)
    peer = options.peer if kind == "postgresql" else None
    print(heading(f"{kind}, median of {sizes.rounds}"), flush=True)
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="dataflow-bench-", ignore_cleanup_errors=True) as folder,
        Session(Path(folder), kind, sizes, peer=peer) as session,
    ):
        for figure in measured(session, options.only or list(MEASURES)):
            print(line(figure), flush=True)
            found.append(figure)
    print(flush=True)
    return found


def machine() -> dict[str, Any]:
    """Where the figures come from: they mean little without it."""
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.platform(),
        "checkout": str(ROOT),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--database", action="append", choices=("postgresql", "sqlite"), help="default: both")
    parser.add_argument("--only", nargs="+", choices=tuple(MEASURES), metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--rows", type=int, help="finished executions for lists and growth; default: 1,000,000")
    parser.add_argument("--peer", choices=("dbos",), help="measure it in turn with us, on PostgreSQL")
    parser.add_argument("--quick", action="store_true", help="see that everything works; the figures mean nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench-results.json", help="JSON")
    return parser.parse_args()


def main() -> None:
    """Measure what the options ask for."""
    options = parsed()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    results = {}
    about = machine()
    for kind in options.database or ["postgresql", "sqlite"]:
        found = run(kind, options)
        results[kind] = [figure.as_json() for figure in found]
        print(f"{kind}: {len(unmet(found))} of {len(found)} figures miss their target or failed.\n", flush=True)
        options.output.write_text(json.dumps({"machine": about, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
