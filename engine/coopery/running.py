"""Plan to report: recall or perform, remember, deliver, observe."""

from __future__ import annotations

import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery import resources
from coopery.destinations import refused
from coopery.errors import (
    CooperyError,
    KeyPath,
    MachineError,
    MachineLost,
    Place,
    Problem,
    RecipeError,
    StepError,
    StepSkipped,
    problem,
)
from coopery.forecasting import forecast
from coopery.keys import Identities, Vanished, parts_of
from coopery.memory import Memory
from coopery.performing import Performer, in_place, os_error, retryable, said_so, trace
from coopery.planning import Plan
from coopery.quantities import show_seconds
from coopery.reasons import explain, lost
from coopery.recipes import located
from coopery.sizing import Sizes
from coopery.steps import (
    Claim,
    Event,
    FileSource,
    Identity,
    Outcome,
    Reason,
    Record,
    State,
    Step,
    Store,
    Turn,
)
from coopery.stopping import Stop, signals
from coopery.supplying import Supplied, Supply, not_made
from coopery.transients import Dropper, Transients

if TYPE_CHECKING:
    from coopery.options import Settings
    from coopery.plugins import Plugins
    from coopery.secrets import Secrets


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a run treats its memory and its failures."""

    jobs: int
    forced: frozenset[str] = frozenset()
    """Steps that are performed though a result is remembered."""
    wanted: frozenset[str] = frozenset()
    """Those of them whose bytes are gone, and are wanted: that is why."""
    overwrite: bool = False
    fail_fast: bool = False
    capacity: Mapping[str, float] = field(default_factory=dict)
    """How much of each resource all runs on this home may use together."""
    priority: int = 0
    """Of runs that wait for the same resources, the highest goes first."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a run ended: the outcome of every step, in plan order."""

    run: str
    outcomes: Mapping[str, Outcome]
    started: float
    ended: float
    interrupted: bool = False
    problems: tuple[Problem, ...] = ()
    """What went wrong with the run as a whole: whoever drove it failed."""
    supplied: tuple[Supplied, ...] = ()
    """What was taken as it is, of steps that were not selected."""

    @property
    def exit_code(self) -> int:
        """0 all well, 1 a step failed, 3 the machine failed it, 130 interrupted.

        What was skipped because a task said so is well, and else something has failed besides.
        """
        if self.problems:
            return 3
        if self.interrupted:
            return 130
        if any(o.facts.get("machine") for o in self.outcomes.values()):
            return 3
        bad = (State.FAILED, State.CANCELLED)
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
    secrets: Secrets
    settings: Settings
    identities: Identities = field(init=False)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    jobs: int = field(init=False)
    total: int = field(init=False)
    """How many steps will have ended, as far as is known."""
    needs: Mapping[str, tuple[str, ...]] = field(init=False)
    priorities: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = self.policy.jobs
        self.needs = self.plan.order
        self.total = len(self.needs)
        self.priorities = {name: self.plan.steps[name].priority for name in self.needs}
        self.identities = Identities(self.store, self.plan.steps)
        self.readers: dict[str, list[str]] = {name: [] for name in self.needs}
        for name, needs in self.needs.items():
            for need in needs:
                self.readers[need].append(name)
        self._keys: dict[str, str] = {}
        self._reasons: dict[str, Reason] = {}
        self._foretold: dict[str, str] | None = None
        self._lock = threading.RLock()
        self._failed = False
        self._lost = False
        """Whether the machine has lost what all steps need."""
        self._seen: set[str] = set()
        """Results in place that were looked for in this run, and are there."""
        self._memory = Memory(self.store, self.plan.recipe.file, self.id)
        self._transients = Transients(self.plan.steps, self.needs)
        self._dropper = Dropper(self.store, self._transients, self._lock)
        self._supply = Supply(self.plan, self.store, self._memory, self.identities)
        self._attempts: Counter[str] = Counter()
        self._due: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._devices: dict[str, tuple[int, ...]] = {}
        self._reserved: set[str] = set()
        self._sizes = Sizes(self.plugins, self.store, self.identities, self.policy.capacity)
        self._told_waiting: set[str] = set()
        self._performer = Performer(
            self.plugins,
            self.store,
            self.identities,
            self.id,
            self.home,
            self.stop,
            self.secrets,
        )
        destinations = [d.destination for n in self.needs for d in self.plan.steps[n].deliveries]
        self._delivered = dict(self.store.deliverable(destinations))

    def check(self) -> list[Problem]:
        """Refuse, before anything runs, what can be known to be impossible; returns warnings.

        Raises RecipeError (`link-outside`, `special-file`, `not-made`, `output-edited`,
        `unknown-resource`), and MachineError (`never-fits`) for tasks that may have to run: what
        is remembered needs no resources.
        """
        warnings: list[Problem] = []
        if unfit := self._unfit_inputs():
            raise RecipeError(*unfit)
        missing = self._supply.missing()
        if missing:
            raise RecipeError(*not_made(self.plan, missing))
        if not self.policy.overwrite:
            told = refused(self.plan, self.store, self.policy.forced, self._delivered)
            if edited := [p for p in told if not p.warning]:
                raise RecipeError(*edited)
            warnings = told
        resources.require(
            self.plan,
            self.policy.capacity,
            lambda: forecast(self.plan, self.store, self.policy.forced),
        )
        return warnings

    def _unfit_inputs(self) -> list[Problem]:
        """What folders of the project hold that no task can be given: the contents of all inputs
        have been looked at by now, for the keys.
        """
        refused = self.identities.refused
        found: dict[Problem, None] = {}
        for name in self.plan.steps if refused else ():
            for need in self.plan.steps[name].needs if name in self.plan.selected else ():
                if not isinstance(need.source, FileSource) or need.source.path not in refused:
                    continue
                task = name.partition("@")[0]
                side, _, channel = need.role.partition(" ")
                inner = ("inputs", channel) if side == "input" else ()
                key: KeyPath = ("task", task, *inner)
                for told in refused[need.source.path].problems:
                    if told.slug in ("link-outside", "special-file"):
                        place = self.plan.recipe.locate(key)
                        found[replace(told, place=replace(place, key=key))] = None
        return list(found)

    @property
    def stopping(self) -> bool:
        """No further step may be started."""
        if self.stop.asked.is_set():
            return True
        return self._lost or (self.policy.fail_fast and self._failed)

    def cancel(self) -> None:
        """See `coopery.steps.Execution.cancel`."""
        self.stop.ask(force=True)

    # -- deciding ---------------------------------------------------------------------------------

    def decide(self, names: Sequence[str]) -> Mapping[str, bool]:
        """See `coopery.steps.Execution.decide`."""
        keys: dict[str, str] = {}
        decided = dict.fromkeys(names, False)
        for name in names:
            self._take_supplies(self.plan.steps[name])
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

    @property
    def supplied(self) -> tuple[Supplied, ...]:
        """Results of tasks that were not selected, as they were taken."""
        found = self._supply.supplied.values()
        return tuple(s for s in found if self.plan.steps[s.step].work.kind == "task")

    def _take_supplies(self, step: Step) -> None:
        """Make known what a step reads of steps that were not selected, and warn of the stale."""
        for supplied in self._supply.provide(step):
            outputs = supplied.record.outputs
            with self._lock:
                going = self._transients.made(supplied.step, outputs)
                self._dropper.drop(going)
            if supplied.stale and self.plan.steps[supplied.step].work.kind == "task":
                message = (
                    f"{supplied.step} was not selected and is stale: "
                    f"its latest success is taken (run {supplied.record.run})"
                )
                self._warn(supplied.step, message)

    def _warn(self, step: str, message: str) -> None:
        self.emit(Event(kind="warning", time=time.time(), step=step, message=message))

    def _why_not_recalled(self, step: Step, key: str, record: Record | None) -> str | None:
        """A reason's code when the step must be performed, None when its result is known."""
        if step.name in self.policy.forced:
            return "remade" if step.name in self.policy.wanted else "forced"
        if step.always:
            return "always"
        if not step.work.in_place:
            return None if record else "new"
        if record and all(self.store.find(i) for i in record.outputs.values()):
            # What nobody reads in this run was asked for itself: it must be there in fact.
            return None if self.readers[step.name] or self._lies_there(step, record) else "gone"
        if self._unwanted(step):
            return None
        return "away" if record else "new"

    def _lies_there(self, step: Step, record: Record) -> bool:
        try:
            return all(self._has(step, identity) for identity in record.outputs.values())
        except CooperyError:
            return False  # performing it says what is wrong

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
        if code == "gone":
            return Reason(code="remade", text=lost(step))
        if code == "away":  # evicted, or never made here
            return Reason(code="new", text="it is not on this machine")
        if code == "remade":
            return Reason(code=code, text=self._why_remade(step))
        code, text = explain(self._memory.latest(step.name), step, self.identities)
        return Reason(code=code, text=text)

    def _settle(
        self, step: Step, key: str, outputs: Mapping[str, Identity], record: Record | None
    ) -> bool:
        """End a recalled step, delivering what is missing; False when bytes are gone for that."""
        self._dropper.hold(step.name, outputs.values())
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

    def reserve(self, name: str) -> bool:
        """See `coopery.steps.Execution.reserve`."""
        step = self.plan.steps[name]
        if name in self.outcomes or not self._size(step):
            return True
        amounts = self._sizes.amounts(step)
        if not amounts:
            return True
        found = self.store.reserve(
            name,
            amounts,
            self.policy.capacity,
            run=self.id,
            priority=self.policy.priority,
        )
        if found.granted:
            self._reserved.add(name)
            self._devices[name] = found.devices
        elif name not in self._told_waiting:
            self._told_waiting.add(name)
            others = [run for run in found.held_by if run != self.id]
            whom = f" (run {', '.join(others)})" if others else ""
            message = f"for {', '.join(found.lacking) or 'a run of higher priority'}{whom}"
            self.emit(Event(kind="waiting", time=time.time(), step=name, message=message))
        return found.granted

    def due(self, name: str) -> float:
        """See `coopery.steps.Execution.due`."""
        return self._due.get(name, 0.0)

    def perform(self, name: str) -> Turn:
        """See `coopery.steps.Execution.perform`."""
        try:
            return self._turn(name)
        finally:
            # Whatever it takes by now, as its data may have changed.
            if name in self._reserved:
                self._reserved.discard(name)
                self._devices.pop(name, None)
                self.store.release(name, run=self.id, priority=self.policy.priority)

    def _turn(self, name: str) -> Turn:
        if name in self.outcomes:  # settling it failed
            good = self.outcomes[name].state is State.SUCCEEDED
            return Turn.SUCCEEDED if good else Turn.FAILED
        step = self.plan.steps[name]
        if self.stop.asked.is_set():
            self._end(Outcome(step=name, state=State.CANCELLED))
            return Turn.FAILED
        started = self._begun.setdefault(name, time.time())
        try:
            return self._perform(step, started)
        except Vanished as error:
            hint = "it was there when the recipe was read"
            gone = problem("missing-input", f"{error} is gone", key=step.key_path, hint=hint)
            self._fail(step, StepError(gone), started)
        except StepSkipped as error:
            self._skip(step, error, started)
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
        return Turn.FAILED

    def _perform(self, step: Step, started: float) -> Turn:
        while True:
            key = self.identities.key_of(step)
            with self._claim(step, key):
                record = self.store.recall([key]).get(key)
                if record is not None and self._must(step) and not self._just_made(step, record):
                    record = None
                if record is not None and self._usable(step, record):
                    # Another step or process made it while this one waited for the claim.
                    if self._settle(step, key, record.outputs, record):
                        return Turn.SUCCEEDED
                    if step.name in self.outcomes:
                        return Turn.FAILED  # delivering it failed
                self._lease_needs(step)
                if not self._fetch_needs(step):
                    continue  # what was remade differs, and so does this step's key
                self._tell_start(step, started)
                problems = self.plugins.authorize(step)
                if problems:
                    raise StepError(*problems)
                try:
                    record = self._make(step, key)
                except StepError as error:
                    wait = self._may_retry(step, error)
                    if wait is None:
                        raise
                    self._due[step.name] = time.monotonic() + wait
                    self._sizes.forget(step)
                    return Turn.AGAIN
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
            return Turn.SUCCEEDED

    def _size(self, step: Step) -> bool:
        """Find out what a step takes by the data it reads; False when it failed for that."""
        try:
            self._sizes.find(step)
        except OSError as error:
            self._fail(step, os_error(error), None)
        except CooperyError as error:
            self._fail(step, error, None)
        else:
            return True
        return False

    def _review(self, step: Step, facts: Mapping[str, Any]) -> None:
        """Tell what is to be told of how a step went whose memory goes by its data."""
        for text in self.plugins.review_step(step, facts, self.settings) if step.by_data else ():
            kind = "warning" if text.startswith("warning: ") else "message"
            said = text.removeprefix("warning: ")
            self.emit(Event(kind=kind, time=time.time(), step=step.name, message=said))

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

    def _just_made(self, step: Step, record: Record) -> bool:
        """Whether what is forced has been made anew in this run already, by its equal."""
        forced = self._reasons[step.name].code == "forced"
        return forced and record.run == self.id and not step.always

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
            maker = self.plan.steps[source.step]
            if not self._has(maker, self.identities.outputs[source.step][source.output]):
                same = self._remake(maker) and same
        if not same:
            self._sizes.forget(step)
        return same

    def _has(self, step: Step, identity: Identity) -> bool:
        """Whether a result can be read: in the store, and where its note says it lies elsewhere."""
        path = self.store.find(identity)
        if path is None or not step.work.in_place:
            return path is not None
        if identity.digest in self._seen:
            return True
        if self.plugins.find_gone([(step, path)]):
            return False
        self._seen.add(identity.digest)
        return True

    def _remake(self, step: Step) -> bool:
        """Perform a step again for its bytes; False when they are not what they were."""
        supplied = self._supply.supplied.get(step.name)
        if supplied is not None and supplied.stale:
            message = f"{step.name} is stale, and the bytes of its latest success are gone"
            hint = f"make it anew: {shlex.join(self.plan.again([step.name]))}"
            raise StepError(problem("lost-bytes", message, hint=hint))
        key = self.identities.key_of(step)
        with self._claim(step, key):
            before = self.identities.outputs[step.name]
            if all(self._has(step, identity) for identity in before.values()):
                return True  # another thread remade it
            why = self._why_remade(step)
            with self._lock:
                self._transients.again(step.name)
            try:
                self._lease_needs(step)
                if not self._fetch_needs(step):
                    key = self.identities.key_of(step)
                started = time.time()
                self._tell_start(step, started)
                record = self._make_at_once(step, key)
            except BaseException as error:
                with self._lock:
                    self._dropper.drop(self._transients.ended(step.name))
                if isinstance(error, StepSkipped):  # it is not its reader who said so
                    message = f"{step.name} was made again for its bytes, and {said_so(error)}"
                    raise StepError(problem("lost-bytes", message)) from error
                raise
        outcome = Outcome(
            step=step.name,
            state=State.SUCCEEDED,
            key=key,
            outputs=record.outputs,
            reason=Reason(code="remade", text=why),
            started=started,
            ended=time.time(),
            facts=record.facts,
            log=self._log(step),
            made_by=self.id,
        )
        same = dict(record.outputs) == dict(before)
        if not same:
            message = f"{step.name} is not reproducible: made again, its outputs differ"
            self._warn(step.name, message)
        self._end(outcome)
        return same

    def _why_remade(self, step: Step) -> str:
        """Of what was remembered: its bytes, or what its note tells of."""
        outputs = self.identities.outputs.get(step.name)
        if outputs is None and step.work.in_place:
            outputs = in_place(step, self._keys[step.name])
        noted = all(self.store.find(identity) for identity in (outputs or {}).values())
        if noted and step.work.in_place:
            return f"{lost(step)} and a reader needs it"
        return "its bytes were gone and a reader needs them"

    def _make(self, step: Step, key: str) -> Record:
        """Perform once, take the outputs into the store, and remember."""
        self._attempts[step.name] += 1
        attempts = self._attempts[step.name]
        devices = self._devices.get(step.name, ())
        anew = step.name in self.policy.forced
        self._sizes.find(step)  # bytes that were gone are there now
        sized, told = self._sizes.sized(step), self._sizes.facts(step)
        try:
            made, outputs = self._performer.attempt(sized, key, self._dropper, devices, anew=anew)
        except StepError as error:
            error.facts.update(told)
            self._review(sized, error.facts)
            raise
        for text in made.warnings:
            self._warn(step.name, f"{step.name}: {text}")
        facts = {**made.facts, **told}
        self._review(sized, facts)
        record = Record(
            key=key,
            step=step.name,
            kind=step.work.kind,
            outputs=outputs,
            parts=parts_of(step, self.identities),
            run=self.id,
            finished=time.time(),
            facts={**facts, "attempts": attempts} if attempts > 1 else facts,
        )
        self._memory.remember(step, record)
        return record

    def _make_at_once(self, step: Step, key: str) -> Record:
        """As `_make`, trying again in this thread: who reads the result is waiting in it."""
        while True:
            try:
                return self._make(step, key)
            except StepError as error:
                wait = self._may_retry(step, error)
                if wait is None or self.stop.asked.wait(wait):
                    raise

    def _may_retry(self, step: Step, error: StepError) -> float | None:
        """Seconds to wait before a step is tried again; None if it is not."""
        attempts = self._attempts[step.name]
        again = attempts <= step.retries.count and retryable(step, error)
        if not again or self.stop.asked.is_set():
            error.facts["attempts"] = attempts
            return None
        wait = step.retries.wait(attempts)
        after = f" in {show_seconds(wait)}" if wait else ""
        count = f"{attempts} of {step.retries.count + 1}"
        message = f"attempt {count} failed: {error.problems[0].message}; trying again{after}"
        self.emit(Event(kind="retrying", time=time.time(), step=step.name, message=message))
        return wait

    def _deliver(self, step: Step, record: Record) -> None:
        for delivery in step.deliveries:
            self.store.deliver(
                record.outputs[delivery.output],
                delivery.destination,
                overwrite=self.policy.overwrite,
            )

    # -- ending -----------------------------------------------------------------------------------

    def _fail(self, step: Step, error: CooperyError, started: float | None) -> None:
        locate = self.plan.recipe.locate
        facts: dict[str, Any] = dict(getattr(error, "facts", {}))
        if isinstance(error, MachineError):
            facts["machine"] = True
            self._lost = self._lost or isinstance(error, MachineLost)
        problems = tuple(
            located(replace(p, place=Place(key=step.key_path)) if p.place == Place() else p, locate)
            if (step.key_path or p.place.key) and not isinstance(error, MachineLost)
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

    def _skip(self, step: Step, error: StepSkipped, started: float) -> None:
        """The step's own work says that it had nothing to do."""
        self._end(
            Outcome(
                step=step.name,
                state=State.SKIPPED,
                key=self._keys.get(step.name, ""),
                reason=Reason(code="said-so", text=said_so(error)),
                started=started,
                ended=time.time(),
                facts=dict(error.facts),
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
            if outcome.step not in self.needs and outcome.step not in self.outcomes:
                self.total += 1  # it was not selected, and had to be made again for its bytes
            self.outcomes[outcome.step] = outcome
            self._failed = self._failed or outcome.state is State.FAILED
            going = []
            if outcome.state is State.SUCCEEDED:
                self.identities.outputs[outcome.step] = outcome.outputs
                going += self._transients.made(outcome.step, outcome.outputs)
            performed = outcome.state is State.SKIPPED and outcome.started is not None
            if performed or outcome.state in (State.SUCCEEDED, State.FAILED):
                going += self._transients.ended(outcome.step)
            self.emit(
                Event(
                    kind="ended",
                    time=time.time(),
                    step=outcome.step,
                    outcome=outcome,
                    total=self.total,
                    done=len(self.outcomes),
                )
            )
            self._dropper.known(outcome.step)
            self._dropper.drop(going)

    def finish(self) -> None:
        """Give every step that has not ended the state of a cancelled one."""
        for name in self.needs:
            if name not in self.outcomes:
                self._end(Outcome(step=name, state=State.CANCELLED))
        self._memory.flush()


def run(under_way: Run) -> Report:
    """Drive a checked run to its end and report; a run that is stopped is reported too."""
    started = time.time()
    plan, emit, stop = under_way.plan, under_way.emit, under_way.stop

    def tell_stop(forced: bool) -> None:
        emit(Event(kind="killing" if forced else "stopping", time=time.time()))

    emit(Event(kind="run-started", time=started, message=plan.runtime, total=under_way.total))
    problems: tuple[Problem, ...] = ()
    try:
        with stop.told(tell_stop), signals(stop):
            under_way.plugins.schedule(under_way)
    except KeyboardInterrupt:
        under_way.stop.ask(force=True)
    except CooperyError as error:
        problems = error.problems  # what was done is done and reported; all else is cancelled
    interrupted = under_way.stop.asked.is_set() and not problems
    under_way.finish()
    ended = time.time()
    report = Report(
        run=under_way.id,
        outcomes={n: under_way.outcomes[n] for n in plan.steps if n in under_way.outcomes},
        started=started,
        ended=ended,
        interrupted=interrupted,
        problems=problems,
        supplied=under_way.supplied,
    )
    done = len(under_way.outcomes)
    emit(Event(kind="run-ended", time=ended, total=under_way.total, done=done))
    return report
