"""A run's record: plain JSON that names all that went in and came out, readable as it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coopery import record_check, telling
from coopery.errors import CooperyError
from coopery.files import run_git
from coopery.planning import Plan
from coopery.record_schema import SCHEMA
from coopery.running import Report
from coopery.steps import Event, Outcome, RunLog, State, Step, Store
from coopery.tasks import TaskWork

PULSE = 0.2
"""Seconds between two additions to the record of a run under way."""


def timestamp(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, to the microsecond."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


class Recorder:
    """Keeps the record of a run from its beginning to its end.

    Until the end, what has happened is added line by line by a thread, every `PULSE` seconds: so
    the record is true however long nothing happens, and a short run that only recalls never comes
    to that.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        run: str,
        stop: Callable[[bool], None],
        asked: Sequence[str] | None = None,
        story: Path | None = None,
    ) -> None:
        """`stop` is called (with True for: at once) when another process asks the run to stop.

        `asked` is what the targets were called, where that is known; nothing, for all. `story` is
        the file in which is told of the run, where that is one.
        """
        self._plan = plan
        self._asked = list(plan.targets if asked is None else asked)
        self._run = run
        self._story = story
        self._started = time.time()
        self._log: RunLog = store.begin_run(run, self._head(), stop)
        self._pending: list[Event] = []
        self._told_plan = self._performs = False
        self._lock = threading.Lock()
        self._source: dict[str, Any] | None = None
        self._error: CooperyError | None = None
        self._over = threading.Event()
        self._writer = threading.Thread(target=self._write, name="record", daemon=True)
        self._writer.start()

    def _head(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "run": self._run,
            "recipe": str(self._plan.recipe.file),
            "runtime": self._plan.runtime,
            "targets": self._asked,
            "state": "running",
            "started": timestamp(self._started),
            **({"story": str(self._story)} if self._story else {}),
        }

    @property
    def beginning(self) -> Mapping[str, Any]:
        """The record while nothing has happened yet."""
        return {**self._head(), "source": None, "steps": [], "supplied": []}

    def observe(self, event: Event) -> None:
        """Take in what happened; called by any thread.

        Raises MachineError when the record could not be written (`disk-full`).
        """
        if event.kind not in ("started", "waiting", "ended"):
            return
        with self._lock:
            if self._error is not None:
                raise self._error
            self._pending.append(event)
            if event.kind == "started" and not self._performs:
                # Something is performed: only then is it worth a process to ask what state the
                # project is in, and it must be asked before a task changes a file.
                self._performs = True
                self._source = source_state(self._plan.recipe.root)
                self._flush()
                self._log.append([{"source": self._source}])

    def _write(self) -> None:
        while not self._over.wait(PULSE):
            with self._lock:
                try:
                    self._flush()
                except CooperyError as error:
                    self._error = error  # for whoever tells of something next
                    return

    def _flush(self) -> None:
        if not self._told_plan:
            steps = [planned(self._plan.steps[name]) for name in self._plan.order]
            self._log.append([{"plan": steps}])
            self._told_plan = True
        if self._pending:
            self._log.append([self._entry(event) for event in self._pending])
            self._pending = []

    def _entry(self, event: Event) -> Mapping[str, Any]:
        match event.kind:
            case "waiting":
                return telling.entry({"step": event.step, "waiting": event.message})
            case "started":
                began = timestamp(event.time)
                return {"step": event.step, "state": "running", "started": began}
            case _:
                assert event.outcome is not None
                return step_record(self._plan.steps[event.step], event.outcome)

    def _stop(self) -> None:
        self._over.set()
        self._writer.join()

    def finish(
        self, report: Report, conclude: Callable[[Mapping[str, Any]], None] = lambda record: None
    ) -> dict[str, Any]:
        """Write the final record, and return it; `conclude` is called with it before that."""
        self._stop()
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
            try:
                conclude(document)
            finally:
                self._log.end(document)
            return document

    def abandon(self) -> None:
        """The run ended by a defect: what was added so far is its record."""
        self._stop()
        with self._lock:
            try:
                self._flush()
            finally:
                self._log.close()


def read_run(store: Store, run: str) -> dict[str, Any]:
    """A run's record; of one under way or killed, what is known of it, with a state for each step.

    Raises RecipeError (`unknown-run`) and MachineError (`run-damaged`, `run-format`).
    """
    return whole(run, store.read_run(run))


def whole(run: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The record that `Store.read_run` has `kept`, made whole and checked.

    A run that was killed is `killed`, and each step that had not ended then is cancelled (S10).
    Raises MachineError (`run-damaged`, `run-format`).
    """
    found = dict(kept)
    if found["state"] == "running":
        _complete(found)
    record_check.check(run, found)
    return found


def _complete(found: dict[str, Any]) -> None:
    """Add to what a run said at its beginning what was added until now."""
    progress: Sequence[Any] = found.pop("progress")
    alive: bool = found.pop("alive")
    steps: dict[str, dict[str, Any]] = {}
    found |= {"source": None, "steps": [], "supplied": []}
    for entry in progress:
        match entry:
            case {"plan": [*planned]}:
                steps = {step["step"]: step for step in planned if _names_a_step(step)}
            case {"source": source}:
                found["source"] = source
            case {"step": str(name)}:
                step = steps.setdefault(name, {})
                step.pop("waiting", None)
                step.update(entry)
    if not alive:
        found["state"] = "killed"
        for step in steps.values():
            step.pop("waiting", None)
            if step.get("state") in ("pending", "running"):
                step["state"] = str(State.CANCELLED)
    found["steps"] = list(steps.values())


def _names_a_step(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("step"), str)


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
        if step.work.secrets:
            found["secrets"] = {
                name: {"secret": given.name, "as": given.how, "rotation": given.rotation}
                for name, given in step.work.secrets.items()
            }
    return telling.entry(found)
