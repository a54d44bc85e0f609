"""Plan to report: recall or perform, remember, deliver, observe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.errors import CooperyError, Place, StepError, problem
from coopery.forecasting import forecast
from coopery.keys import Identities, Vanished, explain, parts_of
from coopery.memory import Memory
from coopery.performing import Performer, in_place, os_error, trace
from coopery.planning import Plan
from coopery.recipes import located
from coopery.steps import (
    Claim,
    Event,
    Identity,
    Outcome,
    Reason,
    Record,
    State,
    Step,
    Store,
)
from coopery.stopping import Stop, signals
from coopery.transients import Transients

if TYPE_CHECKING:
    from coopery.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a run treats its memory and its failures."""

    jobs: int
    forced: frozenset[str] = frozenset()
    """Steps that are performed though a result is remembered."""
    overwrite: bool = False
    fail_fast: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a run ended: the outcome of every step, in plan order."""

    run: str
    outcomes: Mapping[str, Outcome]
    started: float
    ended: float
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 all well, 1 a step failed, 3 the machine failed it, 130 interrupted."""
        if self.interrupted:
            return 130
        if any(o.facts.get("machine") for o in self.outcomes.values()):
            return 3
        bad = (State.FAILED, State.SKIPPED, State.CANCELLED)
        return int(any(outcome.state in bad for outcome in self.outcomes.values()))


@dataclass
class Run:
    """A run under way: the engine's side of `coopery.steps.Execution`."""

    plan: Plan
    plugins: Plugins
    store: Store
    policy: Policy
    id: str
    home: Path
    emit: Callable[[Event], None]
    stop: Stop
    identities: Identities = field(init=False)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    jobs: int = field(init=False)
    needs: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = self.policy.jobs
        self.needs = {name: step.waits_for for name, step in self.plan.steps.items()}
        self.identities = Identities(self.store, self.plan.steps)
        self.readers: dict[str, list[str]] = {name: [] for name in self.needs}
        for name, needs in self.needs.items():
            for need in needs:
                self.readers[need].append(name)
        self._keys: dict[str, str] = {}
        self._reasons: dict[str, Reason] = {}
        self._foretold: dict[str, str] | None = None
        self._lock = threading.RLock()
        self._memory = Memory(self.store, self.plan.recipe.file, self.id)
        self._transients = Transients(self.plan.steps)
        self._performer = Performer(
            self.plugins, self.store, self.identities, self.id, self.home, self.stop
        )
        destinations = [d.destination for s in self.plan.steps.values() for d in s.deliveries]
        self._delivered = dict(self.store.deliverable(destinations))

    @property
    def stopping(self) -> bool:
        """No further step may be started."""
        if self.stop.asked.is_set():
            return True
        return self.policy.fail_fast and any(
            o.state is State.FAILED for o in list(self.outcomes.values())
        )

    def cancel(self) -> None:
        """See `coopery.steps.Execution.cancel`."""
        self.stop.ask(force=True)

    # -- deciding ---------------------------------------------------------------------------------

    def decide(self, names: Sequence[str]) -> Mapping[str, bool]:
        """See `coopery.steps.Execution.decide`."""
        keys: dict[str, str] = {}
        decided = dict.fromkeys(names, False)
        for name in names:
            try:
                keys[name] = self._keys[name] = self.identities.key_of(self.plan.steps[name])
            except (Vanished, CooperyError):
                continue  # performing it says what is wrong
        records = self.store.recall(list(keys.values()))
        for name, key in keys.items():
            step = self.plan.steps[name]
            record = records.get(key)
            code = self._why_not_recalled(step, key, record)
            if code is not None:
                self._reasons[name] = self._reason(step, code)
                continue
            assert record is not None or step.work.in_place
            outputs = record.outputs if record else in_place(step, key)
            if self._settle(step, key, outputs, record):
                decided[name] = True
        return decided

    def _why_not_recalled(self, step: Step, key: str, record: Record | None) -> str | None:
        """A reason's code when the step must be performed, None when its result is known."""
        if step.name in self.policy.forced:
            return "forced"
        if step.always:
            return "always"
        if not step.work.in_place:
            return None if record else "new"
        if record and all(self.store.find(i) for i in record.outputs.values()):
            return None
        return None if self._unwanted(step) else "new"

    def _unwanted(self, step: Step) -> bool:
        """Whether nobody will look into work in place: all that reads it is remembered."""
        if self._foretold is None:
            foretold = forecast(self.plan, self.store, self.policy.forced)
            self._foretold = {f.step: f.verdict for f in foretold}
        return self._foretold[step.name] == "cached"

    def _reason(self, step: Step, code: str) -> Reason:
        if code == "forced":
            return Reason(code=code, text="--force")
        if code == "always":
            return Reason(code=code, text="always = true")
        code, text = explain(self._memory.latest(step.name), step, self.identities)
        return Reason(code=code, text=text)

    def _settle(
        self, step: Step, key: str, outputs: Mapping[str, Identity], record: Record | None
    ) -> bool:
        """End a recalled step, delivering what is missing; False when bytes are gone for that."""
        missing = [
            d
            for d in step.deliveries
            if self._delivered.get(d.destination) != outputs[d.output].digest
        ]
        self.store.lease(outputs[d.output] for d in missing)
        if any(self.store.find(outputs[d.output]) is None for d in missing):
            text = "its bytes were dropped and its destination wants them"
            self._reasons[step.name] = Reason(code="remade", text=text)
            return False
        try:
            for delivery in missing:
                self.store.deliver(
                    outputs[delivery.output],
                    delivery.destination,
                    overwrite=self.policy.overwrite,
                )
        except CooperyError as error:
            self._fail(step, error, started=None)
            return False
        made_by = record.run if record else ""
        if record:
            self._memory.note(step, key, outputs)
        self._end(
            Outcome(
                step=step.name,
                state=State.SUCCEEDED,
                cached=True,
                key=key,
                outputs=outputs,
                reason=Reason(
                    code="cached", text=f"made by run {made_by}" if made_by else "not needed"
                ),
                made_by=made_by,
                facts=dict(record.facts) if record else {},
            )
        )
        return True

    # -- performing -------------------------------------------------------------------------------

    def perform(self, name: str) -> bool:
        """See `coopery.steps.Execution.perform`."""
        if name in self.outcomes:  # settling it failed
            return self.outcomes[name].state is State.SUCCEEDED
        step = self.plan.steps[name]
        if self.stop.asked.is_set():
            self._end(Outcome(step=name, state=State.CANCELLED))
            return False
        started = time.time()
        try:
            return self._perform(step, started)
        except Vanished as error:
            hint = "it was there when the recipe was read"
            gone = problem("missing-input", f"{error} is gone", key=step.key_path, hint=hint)
            self._fail(step, StepError(gone), started)
        except CooperyError as error:
            self._fail(step, error, started)
        except OSError as error:
            self._fail(step, os_error(error), started)
        except Exception as error:
            # A defect in one step's work must not take the others' results with it.
            message = f"unexpected {type(error).__name__}: {error}"
            hint = "this is a defect of coopery or a plugin; the log has the traceback"
            trace(self.store.log_path(self.id, step.name))
            self._fail(step, StepError(problem("defect", message, hint=hint)), started)
        return False

    def _perform(self, step: Step, started: float) -> bool:
        while True:
            key = self.identities.key_of(step)
            with self._claim(step, key):
                record = None if self._must(step) else self.store.recall([key]).get(key)
                if record is not None and self._usable(step, record):
                    # Another step or process made it while this one waited for the claim.
                    if self._settle(step, key, record.outputs, record):
                        return True
                    if step.name in self.outcomes:
                        return False  # delivering it failed
                self._lease_needs(step)
                if not self._fetch_needs(step):
                    continue  # what was remade differs, and so does this step's key
                self._tell_start(step, started)
                problems = self.plugins.authorize(step)
                if problems:
                    raise StepError(*problems)
                record = self._make(step, key)
                self._deliver(step, record)
            self._end(
                Outcome(
                    step=step.name,
                    state=State.SUCCEEDED,
                    key=key,
                    outputs=record.outputs,
                    reason=self._reasons.get(step.name),
                    started=started,
                    ended=time.time(),
                    facts=record.facts,
                    log=self._log(step),
                    made_by=self.id,
                )
            )
            return True

    def _claim(self, step: Step, key: str) -> Claim:
        def waiting(run: str) -> None:
            whom = "this run" if run == self.id else f"run {run}" if run else "another run"
            message = f"{whom} makes the same"
            self.emit(Event(kind="waiting", time=time.time(), step=step.name, message=message))

        return self.store.claim(key, self.stop.asked, run=self.id, waiting=waiting)

    def _tell_start(self, step: Step, started: float) -> None:
        log = self.store.log_path(self.id, step.name)
        self.emit(Event(kind="started", time=started, step=step.name, log=log))

    def _must(self, step: Step) -> bool:
        reason = self._reasons.get(step.name)
        return reason is not None and reason.code in ("forced", "always", "remade")

    def _usable(self, step: Step, record: Record) -> bool:
        if step.work.in_place:
            return all(self.store.find(i) is not None for i in record.outputs.values())
        return True

    def _log(self, step: Step) -> Path | None:
        log = self.store.log_path(self.id, step.name)
        return log if log.exists() else None

    def _lease_needs(self, step: Step) -> None:
        """From here on no other run drops what the step reads."""
        known = self.identities.outputs
        self.store.lease(known[s.step][s.output] for need in step.needs for s in need.outputs)

    def _fetch_needs(self, step: Step) -> bool:
        """Remake what the step reads and whose bytes are gone; False when an identity changed."""
        same = True
        for source in dict.fromkeys(source for need in step.needs for source in need.outputs):
            if self.store.find(self.identities.outputs[source.step][source.output]) is None:
                same = self._remake(self.plan.steps[source.step]) and same
        return same

    def _remake(self, step: Step) -> bool:
        """Perform a step again for its bytes; False when they are not what they were."""
        key = self.identities.key_of(step)
        with self._claim(step, key):
            before = self.identities.outputs[step.name]
            if all(self.store.find(identity) is not None for identity in before.values()):
                return True  # another thread remade it
            self._lease_needs(step)
            if not self._fetch_needs(step):
                key = self.identities.key_of(step)
            started = time.time()
            self._tell_start(step, started)
            record = self._make(step, key)
        text = "its bytes were gone and a reader needs them"
        outcome = Outcome(
            step=step.name,
            state=State.SUCCEEDED,
            key=key,
            outputs=record.outputs,
            reason=Reason(code="remade", text=text),
            started=started,
            ended=time.time(),
            facts=record.facts,
            log=self._log(step),
            made_by=self.id,
        )
        same = dict(record.outputs) == dict(before)
        if not same:
            message = f"{step.name} is not reproducible: made again, its outputs differ"
            self.emit(Event(kind="warning", time=time.time(), step=step.name, message=message))
        self._end(outcome)
        return same

    def _make(self, step: Step, key: str) -> Record:
        """Perform with retries, take the outputs into the store, and remember."""
        attempt = 0
        while True:
            try:
                made, outputs = self._performer.attempt(step, key)
                break
            except StepError as error:
                attempt += 1
                if attempt > step.retries or self.stop.asked.is_set():
                    raise
                message = f"attempt {attempt} failed: {error.problems[0].message}; trying again"
                self.emit(Event(kind="warning", time=time.time(), step=step.name, message=message))
        record = Record(
            key=key,
            step=step.name,
            kind=step.work.kind,
            outputs=outputs,
            parts=parts_of(step, self.identities),
            run=self.id,
            finished=time.time(),
            facts=made.facts,
        )
        self._memory.remember(step, record)
        return record

    def _deliver(self, step: Step, record: Record) -> None:
        for delivery in step.deliveries:
            self.store.deliver(
                record.outputs[delivery.output],
                delivery.destination,
                overwrite=self.policy.overwrite,
            )

    # -- ending -----------------------------------------------------------------------------------

    def _fail(self, step: Step, error: CooperyError, started: float | None) -> None:
        from coopery.errors import MachineError

        locate = self.plan.recipe.locate
        facts: dict[str, Any] = dict(getattr(error, "facts", {}))
        if isinstance(error, MachineError):
            facts["machine"] = True
        problems = tuple(
            located(replace(p, place=Place(key=step.key_path)) if p.place == Place() else p, locate)
            if step.key_path or p.place.key
            else p
            for p in error.problems
        )
        state = State.CANCELLED if self.stop.asked.is_set() else State.FAILED
        self._end(
            Outcome(
                step=step.name,
                state=state,
                key=self._keys.get(step.name, ""),
                reason=self._reasons.get(step.name),
                problems=problems,
                started=started,
                ended=time.time() if started else None,
                facts=facts,
                log=self._log(step),
            )
        )

    def give_up(self, name: str) -> Sequence[str]:
        """See `coopery.steps.Execution.give_up`."""
        found: list[str] = []
        stack = list(self.readers[name])
        while stack:
            reader = stack.pop()
            if reader in self.outcomes:
                continue
            reason = Reason(code="skipped", text=f"{name} {self.outcomes[name].state}")
            self._end(Outcome(step=reader, state=State.SKIPPED, reason=reason))
            found.append(reader)
            stack.extend(self.readers[reader])
        return found

    def _end(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes[outcome.step] = outcome
            going = []
            if outcome.state is State.SUCCEEDED:
                self.identities.outputs[outcome.step] = outcome.outputs
                going += self._transients.made(outcome.step, outcome.outputs)
            if outcome.state in (State.SUCCEEDED, State.FAILED):
                going += self._transients.ended(outcome.step)
            total, done = len(self.needs), len(self.outcomes)
            self.emit(
                Event(
                    kind="ended",
                    time=time.time(),
                    step=outcome.step,
                    outcome=outcome,
                    total=total,
                    done=done,
                )
            )
        self._drop(going)

    def _drop(self, identities: Iterable[Identity]) -> None:
        for identity in identities:
            self.store.drop(identity)

    def finish(self) -> None:
        """Give every step that has not ended the state of a cancelled one."""
        for name in self.needs:
            if name not in self.outcomes:
                self._end(Outcome(step=name, state=State.CANCELLED))
        self._memory.flush()


def run(
    plan: Plan,
    plugins: Plugins,
    store: Store,
    policy: Policy,
    run_id: str,
    home: Path,
    emit: Callable[[Event], None],
    stop: Stop,
) -> Report:
    """Drive a plan to its end and report; a run that is stopped is reported too."""
    started = time.time()
    under_way = Run(plan, plugins, store, policy, run_id, home, emit, stop)

    def tell_stop(forced: bool) -> None:
        emit(Event(kind="killing" if forced else "stopping", time=time.time()))

    emit(Event(kind="run-started", time=started, message=plan.runtime, total=len(plan.steps)))
    try:
        with stop.told(tell_stop), signals(stop):
            plugins.schedule(under_way)
    except KeyboardInterrupt:
        under_way.stop.ask(force=True)
    interrupted = under_way.stop.asked.is_set()
    under_way.finish()
    ended = time.time()
    report = Report(
        run=run_id,
        outcomes={name: under_way.outcomes[name] for name in plan.steps},
        started=started,
        ended=ended,
        interrupted=interrupted,
    )
    emit(Event(kind="run-ended", time=ended, total=len(plan.steps), done=len(plan.steps)))
    return report
