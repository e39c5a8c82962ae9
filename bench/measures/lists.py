"""A page of 50 out of many executions: the first, and one half way down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from bench.figures import Figure, at_most, figure
from bench.session import Session


def measure(session: Session) -> Iterator[Figure]:
    """Milliseconds of one request after another: all executions, and those of one workflow."""
    running = session.full
    rows = session.sizes.rows
    # Copies lie one a second in the past.
    middle = quote((datetime.now(UTC) - timedelta(seconds=rows // 2)).isoformat())
    target = at_most(20) if session.postgresql else None
    some = running.call("GET", "/executions?limit=1")["executions"][0]
    for name, path in (("of all", "/executions"), ("of a workflow", f"/workflows/{some['workflow_id']}/executions")):
        cursor = running.call("GET", f"{path}?limit=50&created_before={middle}")["next_cursor"]
        for place, query in (("first page", ""), ("a page half way down", f"&cursor={cursor}")):
            outcomes = [
                running.run(f"{path}?limit=50{query}", method="GET", number=session.sizes.latency)
                for _ in range(session.sizes.rounds)
            ]
            times = [outcome.percentile(0.5) for outcome in outcomes]
            yield figure(f"list of 50 out of {rows:,}, {name}: {place}, p50", times, "ms", target)
