"""A run's record: plain JSON that names all that went in and came out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from coopery.planning import Plan
from coopery.running import Report
from coopery.steps import Outcome, Step
from coopery.tasks import TaskWork

SCHEMA = 1
"""The record's format, raised when a reader would misread a new one."""


def timestamp(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, to the microsecond."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def run_record(plan: Plan, report: Report | float, run: str) -> dict[str, Any]:
    """The record of a run; of one that has only begun, when that was (seconds, epoch)."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "run": run,
        "recipe": str(plan.recipe.file),
        "runtime": plan.runtime,
        "targets": list(plan.targets),
        "state": "running",
    }
    if isinstance(report, float):
        return {**document, "started": timestamp(report)}
    return {
        **document,
        "state": "interrupted" if report.interrupted else "ended",
        "exit_code": report.exit_code,
        "started": timestamp(report.started),
        "ended": timestamp(report.ended),
        "steps": [
            step_record(plan.steps[name], outcome) for name, outcome in report.outcomes.items()
        ],
    }


def step_record(step: Step, outcome: Outcome) -> dict[str, Any]:
    """What is kept of one step of a run."""
    found: dict[str, Any] = {
        "step": step.name,
        "kind": step.work.kind,
        "state": str(outcome.state),
        "cached": outcome.cached,
        "key": outcome.key,
        "made_by": outcome.made_by,
        "reason": (
            {"code": outcome.reason.code, "text": outcome.reason.text} if outcome.reason else None
        ),
        "needs": list(step.waits_for),
        "outputs": {
            name: {"digest": i.digest, "kind": i.kind, "size": i.size}
            for name, i in outcome.outputs.items()
        },
        "started": timestamp(outcome.started),
        "ended": timestamp(outcome.ended),
        "log": str(outcome.log) if outcome.log else None,
        "notes": list(step.notes),
        "problems": [{"slug": p.slug, "message": str(p)} for p in outcome.problems],
        "facts": dict(outcome.facts),
    }
    if isinstance(step.work, TaskWork):
        found["command"] = step.work.shown
        found["params"] = dict(step.work.params)
        found["coords"] = dict(step.work.coords)
        resources = step.work.resources
        found["resources"] = {
            "cpu": resources.cpu,
            "memory": resources.memory,
            "gpu": resources.gpu,
            "shm": resources.shm,
        }
    return found
