"""Three durable steps with DBOS, started over HTTP. Runs in DBOS's own environment; see ``runner.py``."""

# mypy: ignore-errors
# DBOS is not installed beside the platform.

from __future__ import annotations

import os
import uuid

import uvicorn
from dbos import DBOS, DBOSConfig, SetWorkflowID
from fastapi import FastAPI

_STATUS = {"SUCCESS": "COMPLETED", "ERROR": "FAILED", "CANCELLED": "CANCELLED"}

config = DBOSConfig(
    name="bench", system_database_url=os.environ["DBOS_SYSTEM_DATABASE_URL"], log_level="WARNING", enable_otlp=False
)
app = FastAPI()
DBOS(config=config)


@DBOS.step()
def one() -> str:
    """As ``text.static``."""
    return "Hello, world!"


@DBOS.step()
def two(text: str) -> str:
    """As ``text.reverse``."""
    return text[::-1]


@DBOS.step()
def three(text: str) -> str:
    """As ``text.echo``."""
    return text


@DBOS.workflow()
def three_steps() -> str:
    """Each step is durable before the next one starts."""
    return three(two(one()))


@app.get("/ready")
def ready() -> dict[str, str]:
    """Whether it answers."""
    return {"status": "ok"}


@app.post("/run")
def run() -> dict[str, str]:
    """Called in the web process: the answer comes when the workflow has ended."""
    key = str(uuid.uuid4())
    with SetWorkflowID(key):
        three_steps()
    return {"url": f"/executions/{key}", "status": "COMPLETED"}


@app.post("/start")
def start() -> dict[str, str]:
    """Started in the background."""
    return {"url": f"/executions/{DBOS.start_workflow(three_steps).workflow_id}", "status": "PENDING"}


@app.get("/executions/{key}")
def status(key: str) -> dict[str, object]:
    """Status and steps, as ours answers."""
    found = DBOS.get_workflow_status(key)
    if found is None:
        return {"status": "UNKNOWN"}
    steps = [{"name": step["function_name"], "output": step["output"]} for step in DBOS.list_workflow_steps(key)]
    return {"status": _STATUS.get(found.status, "RUNNING"), "output": found.output, "tasks": steps}


if __name__ == "__main__":
    DBOS.launch()
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
