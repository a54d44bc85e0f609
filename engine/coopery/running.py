"""Plan to report: recall or perform, remember, deliver, observe."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.errors import CooperyError, Place, Problem, StepError, problem
from coopery.forecasting import forecast
from coopery.keys import Identities, Vanished, explain, parts_of
from coopery.planning import Plan
from coopery.recipes import located
from coopery.steps import (
    Event,
    FileSet,
    FileSource,
    Gathered,
    Identity,
    Made,
    Need,
    Outcome,
    Reason,
    Record,
    State,
    Step,
    StepSource,
    Store,
    Workspace,
)

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
    identities: Identities = field(init=False)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)
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
        self._pending: list[Record] = []
        self._commit = threading.Lock()
        destinations = [d.destination for s in self.plan.steps.values() for d in s.deliveries]
        self._delivered = dict(self.store.deliverable(destinations))

    @property
    def stopping(self) -> bool:
        """No further step may be started."""
        if self.cancelled.is_set():
            return True
        return self.policy.fail_fast and any(
            o.state is State.FAILED for o in list(self.outcomes.values())
        )

    def cancel(self) -> None:
        """See `coopery.steps.Execution.cancel`."""
        self.cancelled.set()

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
            outputs = record.outputs if record else self._in_place(step, key)
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

    def _in_place(self, step: Step, key: str) -> Mapping[str, Identity]:
        return {output: Identity(digest=key, kind="place") for output in step.outputs}

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
        nearest = self.store.nearest(step.name, step.work.kind)
        code, text = explain(nearest, step, self.identities)
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
        if self.cancelled.is_set():
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
            self._fail(step, _os_error(error), started)
        except Exception as error:
            # A defect in one step's work must not take the others' results with it.
            message = f"unexpected {type(error).__name__}: {error}"
            hint = "this is a defect of coopery or a plugin; the log has the traceback"
            _trace(self.store.log_path(self.id, step.name))
            self._fail(step, StepError(problem("defect", message, hint=hint)), started)
        return False

    def _perform(self, step: Step, started: float) -> bool:
        while True:
            key = self.identities.key_of(step)
            with self.store.claim(key, self.cancelled):
                record = None if self._must(step) else self.store.recall([key]).get(key)
                if record is not None and self._usable(step, record):
                    # Another step or process made it while this one waited for the claim.
                    if self._settle(step, key, record.outputs, record):
                        return True
                    if step.name in self.outcomes:
                        return False  # delivering it failed
                if not self._fetch_needs(step):
                    continue  # what was remade differs, and so does this step's key
                self.emit(Event(kind="started", time=started, step=step.name))
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

    def _fetch_needs(self, step: Step) -> bool:
        """Remake what the step reads and whose bytes are gone; False when an identity changed."""
        same = True
        for need in step.needs:
            for name in need.steps:
                outputs = self.identities.outputs[name]
                used = {s.output for s in _step_sources(need) if s.step == name}
                if all(self.store.find(outputs[output]) is not None for output in used):
                    continue
                same = self._remake(self.plan.steps[name]) and same
        return same

    def _remake(self, step: Step) -> bool:
        """Perform a step again for its bytes; False when they are not what they were."""
        key = self.identities.key_of(step)
        with self.store.claim(key, self.cancelled):
            before = self.identities.outputs[step.name]
            if all(self.store.find(identity) is not None for identity in before.values()):
                return True  # another thread remade it
            if not self._fetch_needs(step):
                key = self.identities.key_of(step)
            self.emit(Event(kind="started", time=time.time(), step=step.name, message="remade"))
            started = time.time()
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
                made, outputs = self._attempt(step, key)
                break
            except StepError as error:
                attempt += 1
                if attempt > step.retries or self.cancelled.is_set():
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
        self._remember(record)
        return record

    def _attempt(self, step: Step, key: str) -> tuple[Made, dict[str, Identity]]:
        in_place = step.work.in_place
        scratch = self.store.scratch(step.name)
        folder = self.store.place(key) if in_place else scratch
        try:
            inputs, gathered = self._open_needs(step, scratch)
            workspace = Workspace(
                step=step,
                folder=folder / "work" if not in_place else folder,
                inputs=inputs,
                gathered=gathered,
                log=self.store.log_path(self.id, step.name),
                home=self.home,
                key=key,
                cancelled=self.cancelled,
                run=self.id,
            )
            workspace.folder.mkdir(exist_ok=True)
            workspace.log.parent.mkdir(parents=True, exist_ok=True)
            made = self.plugins.perform(step, workspace)
            self._check_inputs(step)
            if in_place:
                self.store.complete(key)
                return made, dict(self._in_place(step, key))
            return made, {output: self.store.put(made.outputs[output]) for output in step.outputs}
        finally:
            _remove(scratch)

    def _open_needs(
        self, step: Step, scratch: Path
    ) -> tuple[dict[str, Path], dict[str, tuple[tuple[str, Path], ...]]]:
        """By role, a path to read each need from. Chosen files are copied out."""
        inputs: dict[str, Path] = {}
        gathered: dict[str, tuple[tuple[str, Path], ...]] = {}
        for index, need in enumerate(step.needs):
            match need.source:
                case FileSource(path=path):
                    inputs[need.role] = path
                case FileSet(root=root, files=files):
                    folder = scratch / f"need-{index}"
                    folder.mkdir()
                    for name in files:
                        (folder / name).parent.mkdir(parents=True, exist_ok=True)
                        self.store.copy(root / name, folder / name)
                    # The copy is what is read, so the copy is what must be as it was keyed.
                    now = self.store.identify_set(folder, files).digest
                    if now != self.identities.of_set(root, files).digest:
                        raise _modified(need.source.shown, step)
                    inputs[need.role] = folder
                case StepSource() as source:
                    inputs[need.role] = self._find(source)
                case Gathered(parts=parts):
                    gathered[need.role] = tuple((path, self._find(part)) for path, part in parts)
        return inputs, gathered

    def _find(self, source: StepSource) -> Path:
        path = self.store.find(self.identities.outputs[source.step][source.output])
        if path is None:
            message = f"the bytes of {source.step}.{source.output} went missing during the run"
            raise StepError(problem("lost-bytes", message, hint="run again: they are made anew"))
        if not source.inside:
            return path
        from coopery.files import beneath

        inner = beneath(path, source.inside)
        if not inner.exists():
            message = f"{source.step}.{source.output} has no {source.inside!r} inside"
            raise StepError(problem("missing-input", message))
        return inner

    def _check_inputs(self, step: Step) -> None:
        """Project files must be as they were when the key was made (semantics 9)."""
        paths = [n.source.path for n in step.needs if isinstance(n.source, FileSource)]
        now = self.store.identify_many(paths)
        for need in step.needs:
            if not isinstance(need.source, FileSource):
                continue
            found = now.get(need.source.path)
            if found != self.identities.files.get(need.source.path):
                raise _modified(need.source.shown, step)

    def _remember(self, record: Record) -> None:
        """Commit together with whatever other threads have ready: one transaction for all."""
        with self._lock:
            self._pending.append(record)
        with self._commit:
            with self._lock:
                batch, self._pending = self._pending, []
            if batch:
                self.store.remember(batch)

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
        state = State.CANCELLED if self.cancelled.is_set() else State.FAILED
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
            if outcome.state is State.SUCCEEDED:
                self.identities.outputs[outcome.step] = outcome.outputs
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
            self._drop_transients(outcome.step)

    def _drop_transients(self, ended: str) -> None:
        """Drop each transient output whose last reader has ended (S4, semantics 21)."""
        for producer in self.needs[ended]:
            step = self.plan.steps[producer]
            for output in step.transient:
                readers = [
                    r
                    for r in self.readers[producer]
                    if _reads(self.plan.steps[r], producer, output)
                ]
                if producer not in self.identities.outputs or not readers:
                    continue
                if all(reader in self.outcomes for reader in readers):
                    identity = self.identities.outputs[producer][output]
                    if not self._shared(producer, output, identity):
                        self.store.drop(identity)

    def _shared(self, producer: str, output: str, identity: Identity) -> bool:
        """Whether another output of this run is made of the same bytes."""
        return any(
            other == identity and (name, key) != (producer, output) and self._wanted(name, key)
            for name, outputs in self.identities.outputs.items()
            for key, other in outputs.items()
        )

    def _wanted(self, producer: str, output: str) -> bool:
        """Whether an output stays: it is not transient, or a reader has yet to end."""
        step = self.plan.steps[producer]
        readers = [
            r for r in self.readers[producer] if _reads(self.plan.steps[r], producer, output)
        ]
        return (
            output not in step.transient
            or not readers
            or any(reader not in self.outcomes for reader in readers)
        )

    def finish(self) -> None:
        """Give every step that has not ended the state of a cancelled one."""
        for name in self.needs:
            if name not in self.outcomes:
                self._end(Outcome(step=name, state=State.CANCELLED))


def _modified(shown: str, step: Step) -> StepError:
    message = f"{shown} changed while {step.name} ran"
    hint = "nothing was remembered; run again"
    return StepError(problem("input-modified", message, key=step.key_path, hint=hint))


def _reads(step: Step, producer: str, output: str) -> bool:
    return any(
        source.step == producer and source.output == output
        for need in step.needs
        for source in _step_sources(need)
    )


def _step_sources(need: Need) -> tuple[StepSource, ...]:
    match need.source:
        case StepSource() as source:
            return (source,)
        case Gathered(parts=parts):
            return tuple(part for _, part in parts)
        case _:
            return ()


def _trace(log: Path) -> None:
    """The traceback of a defect, at the end of the step's log."""
    import traceback

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        traceback.print_exc(file=file)


def _os_error(error: OSError) -> CooperyError:
    import errno

    from coopery.errors import MachineError

    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    slug = "disk-full" if full else "machine-error"
    hint = "free some space, then run again: finished work is kept" if full else None
    return MachineError(Problem(slug=slug, message=str(error), hint=hint))


def _remove(folder: Path) -> None:
    """Remove a scratch folder, also where a task took the write bits away."""
    import shutil

    def retry(function: Callable[[str], object], path: str, error: BaseException) -> None:
        if isinstance(error, FileNotFoundError):
            return
        if not isinstance(error, PermissionError):
            raise error
        Path(path).parent.chmod(0o700)
        if Path(path).is_dir() and not Path(path).is_symlink():
            Path(path).chmod(0o700)
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)

    import sys

    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=retry)
    else:
        shutil.rmtree(folder, onerror=lambda f, p, info: retry(f, p, info[1]))


@contextmanager
def _stoppable(cancel: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and a closed terminal stop a run as Ctrl-C does: no task outlives its run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        # Told directly too: an exception in whatever the thread is at just now may get lost.
        cancel()
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def run(
    plan: Plan,
    plugins: Plugins,
    store: Store,
    policy: Policy,
    run_id: str,
    home: Path,
    emit: Callable[[Event], None],
) -> Report:
    """Drive a plan to its end and report; Ctrl-C cancels what runs and is reported too."""
    started = time.time()
    under_way = Run(plan, plugins, store, policy, run_id, home, emit)
    emit(Event(kind="run-started", time=started, message=plan.runtime, total=len(plan.steps)))
    try:
        with _stoppable(under_way.cancel):
            plugins.schedule(under_way)
    except KeyboardInterrupt:
        under_way.cancel()
    interrupted = under_way.cancelled.is_set()
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
