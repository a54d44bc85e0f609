"""A run's record: plain JSON that names all that went in and came out, readable as it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coopery.files import run_git
from coopery.planning import Plan
from coopery.running import Report
from coopery.steps import Event, Outcome, RunLog, State, Step, Store
from coopery.tasks import TaskWork

SCHEMA = 2
"""The record's format, raised when a reader would misread a new one."""

PULSE = 0.2
"""Seconds between two additions to the record of a run under way, unless a step starts."""


def timestamp(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, to the microsecond."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


class Recorder:
    """Keeps the record of a run from its beginning to its end.

    Until the end, what has happened is added line by line, at most every `PULSE` seconds: a run
    that only recalls never comes to that.
    """

    def __init__(self, plan: Plan, store: Store, run: str, stop: Callable[[bool], None]) -> None:
        """`stop` is called (with True for: at once) when another process asks the run to stop."""
        self._plan = plan
        self._run = run
        self._started = time.time()
        self._log: RunLog = store.begin_run(run, self._head(), stop)
        self._pending: list[Mapping[str, Any]] = []
        self._told_plan = False
        self._flushed = time.monotonic()
        self._lock = threading.Lock()
        self._source: dict[str, Any] | None = None

    def _head(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "run": self._run,
            "recipe": str(self._plan.recipe.file),
            "runtime": self._plan.runtime,
            "targets": list(self._plan.targets),
            "state": "running",
            "started": timestamp(self._started),
        }

    def observe(self, event: Event) -> None:
        """Take in what happened; called by any thread."""
        with self._lock:
            match event.kind:
                case "started":
                    began = {"state": "running", "started": timestamp(event.time)}
                    self._pending.append({"step": event.step, **began})
                case "ended" if event.outcome is not None:
                    step = self._plan.steps[event.step]
                    self._pending.append(step_record(step, event.outcome))
                case _:
                    return
            now = time.monotonic()
            if event.kind == "started" or now - self._flushed > PULSE:
                self._flush(now)

    def _flush(self, now: float) -> None:
        if not self._told_plan:
            self._told_plan = True
            # Something is performed: only then is it worth a process to ask what state this is.
            self._source = source_state(self._plan.recipe.root)
            steps = [planned(self._plan.steps[name]) for name in self._plan.order]
            self._log.append([{"source": self._source, "plan": steps}])
        self._log.append(self._pending)
        self._pending = []
        self._flushed = now

    def finish(self, report: Report) -> dict[str, Any]:
        """Write the final record, and return it."""
        with self._lock:
            document = {
                **self._head(),
                "state": "interrupted" if report.interrupted else "ended",
                "exit_code": report.exit_code,
                "started": timestamp(report.started),
                "ended": timestamp(report.ended),
                "source": self._source,
                "steps": [
                    step_record(self._plan.steps[name], outcome)
                    for name, outcome in report.outcomes.items()
                ],
                "supplied": [
                    {"step": s.step, "key": s.record.key, "made_by": s.record.run, "stale": s.stale}
                    for s in report.supplied
                ],
            }
            self._log.end(document)
            return document

    def abandon(self) -> None:
        """The run ended by a defect: what was added so far is its record."""
        with self._lock:
            self._log.append(self._pending)
            self._log.close()


def read_run(store: Store, run: str) -> dict[str, Any]:
    """A run's record; of one under way or killed, what is known of it, with a state for each step.

    A run that was killed is `killed`, and each step that had not ended then is cancelled (S10).
    Raises RecipeError (`unknown-run`) and MachineError (`run-damaged`).
    """
    found = dict(store.read_run(run))
    if found["state"] != "running":
        return found
    progress: Sequence[Mapping[str, Any]] = found.pop("progress")
    alive: bool = found.pop("alive")
    steps: dict[str, dict[str, Any]] = {}
    found |= {"source": None, "steps": [], "supplied": []}
    for entry in progress:
        if "plan" in entry:
            found["source"] = entry["source"]
            steps = {step["step"]: dict(step) for step in entry["plan"]}
        else:
            steps.setdefault(entry["step"], {}).update(entry)
    if not alive:
        found["state"] = "killed"
        for step in steps.values():
            if step["state"] in ("pending", "running"):
                step["state"] = str(State.CANCELLED)
    found["steps"] = list(steps.values())
    return found


def source_state(root: Path) -> dict[str, Any] | None:
    """The commit that a project is at and whether files differ from it; None without git."""
    commit = run_git(root, "rev-parse", "--verify", "-q", "HEAD")
    if commit is None:
        return None
    changed = run_git(root, "status", "--porcelain", "-z", "--", ".")
    return {"commit": commit.decode("ascii").strip(), "dirty": bool(changed)}


def planned(step: Step) -> dict[str, Any]:
    """What can be said of a step before it has begun."""
    return step_record(step, Outcome(step=step.name, state=State.SKIPPED)) | {"state": "pending"}


def step_record(step: Step, outcome: Outcome) -> dict[str, Any]:
    """What is kept of one step of a run."""
    reason = outcome.reason
    found: dict[str, Any] = {
        "step": step.name,
        "kind": step.work.kind,
        "state": str(outcome.state),
        "cached": outcome.cached,
        "key": outcome.key,
        "made_by": outcome.made_by,
        "reason": {"code": reason.code, "text": reason.text} if reason else None,
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
        found["resources"] = step.work.resources.amounts
    return found
