"""The one idea: steps. Work with a name, needs and a key, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from coopery.errors import KeyPath, Problem
from coopery.model import Retries

if TYPE_CHECKING:
    from coopery.secrets import Secrets

if TYPE_CHECKING:
    from coopery.elsewhere import Elsewhere


@runtime_checkable
class Work(Protocol):
    """What a step does: a frozen dataclass of the plugin that planned it.

    Its fields enter the key, save those annotated `unkeyed`. `kind` and `version` do too: raise
    `version` when the same work would be done differently. With `in_place`, the result is a folder
    at an address made from the key (an environment), not bytes moved into the object store, and
    its identity is the key (semantics 1).
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    in_place: ClassVar[bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSource:
    """A file or folder of the project; `path` is absolute, `shown` as the recipe says it."""

    path: Path
    shown: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSource:
    """One output of another step, or what lies `inside` it (a relative path)."""

    step: str
    output: str
    inside: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """Several outputs as one folder: relative path -> output (semantics 14)."""

    parts: tuple[tuple[str, StepSource], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSet:
    """Chosen files of one folder: `files` are sorted paths relative to `root`.

    Its identity is that of a folder holding exactly these files; who performs gets such a folder,
    a clean copy of its own.
    """

    root: Path
    files: tuple[str, ...]
    shown: str


Source = FileSource | FileSet | StepSource | Gathered


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """One thing a step needs. `role` and `name` (the base name it is seen under) enter the key."""

    role: str
    source: Source
    name: str = ""

    @property
    def outputs(self) -> tuple[StepSource, ...]:
        """The outputs of steps that this need reads."""
        match self.source:
            case StepSource() as source:
                return (source,)
            case Gathered(parts=parts):
                return tuple(source for _, source in parts)
            case _:
                return ()

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps this need waits for."""
        return tuple(source.step for source in self.outputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """An output that is put at `destination` (absolute) after success; `key` is its place."""

    output: str
    destination: Path
    key: KeyPath = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """Work with a name, what it needs, and what it makes.

    `subject` names what the step is for, as the recipe does (`fit@fold=0`, `science`); a step of
    kind `task` bears its instance's name. `outputs` are the names its result will have.
    """

    name: str
    work: Work
    needs: tuple[Need, ...] = ()
    outputs: tuple[str, ...] = ()
    subject: str = ""
    always: bool = False
    retries: Retries = field(default_factory=Retries)
    resources: Mapping[str, float] = field(default_factory=dict)
    """What performing it takes of the machine, by name: `cpu` in cores, `memory` in bytes, …."""
    by_data: bool = False
    """Whether what it takes depends on what it reads: `size_step` is asked then."""
    priority: int = 0
    """Of the steps that are ready, those of higher priority start first."""
    transient: frozenset[str] = frozenset()
    deliveries: tuple[Delivery, ...] = ()
    notes: tuple[str, ...] = ()
    """What list, plan and record show of it, e.g. `unpinned` (semantics 17)."""
    key_path: KeyPath = ()

    @cached_property
    def waits_for(self) -> tuple[str, ...]:
        """The names of the steps that must have succeeded first."""
        return tuple(dict.fromkeys(step for need in self.needs for step in need.steps))


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """What a step takes, with the data that it reads.

    `work` is its work with that in it, where the runtime heeds it; `resources` are what is reserved
    for it, by name, in place of the step's. `facts` tell of it in the record; `wrong` are reasons
    why it cannot be run so.
    """

    work: Work
    resources: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict)
    wrong: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a result is: `digest` of its contents (files, folders) or its key (in place)."""

    digest: str
    kind: Literal["file", "folder", "place"]
    size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of a key, kept so that `why` can say which part differs.

    `name` is for people (`params.depth`, `input raw`); `value` a short text or a digest; `step`
    names the step behind an identity, so that the search can go on there.
    """

    name: str
    value: str
    step: str | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is remembered of a success, under its key. Outlives its bytes (semantics 4)."""

    key: str
    step: str
    kind: str
    outputs: Mapping[str, Identity]
    parts: tuple[Part, ...] = ()
    run: str = ""
    finished: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Success:
    """The latest success of a recipe's step: remembered or recalled under `key` (semantics 6).

    `recipe` is the recipe file's absolute path; `keeps` are the digests of the outputs that the
    recipe does not call transient, sorted; `run` is the run that succeeded.
    """

    recipe: str
    step: str
    key: str
    keeps: tuple[str, ...] = ()
    run: str = ""


class State(StrEnum):
    """How a step ends: in exactly one of these (semantics 20)."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a step ran, or why not, as data.

    `code`: `cached`, `new` (nothing like it was ever made), `changed`, `forced`, `always`,
    `remade` (its bytes were gone and a reader needs them); of a skipped one `skipped` (what it
    needs has failed or was skipped) or `said-so` (its own work did).
    """

    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one step of a run ended."""

    step: str
    state: State
    cached: bool = False
    key: str = ""
    outputs: Mapping[str, Identity] = field(default_factory=dict)
    reason: Reason | None = None
    problems: tuple[Problem, ...] = ()
    started: float | None = None
    ended: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    log: Path | None = None
    made_by: str = ""
    """The run that made the result."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something happened.

    `kind` is one of `message`, `begun` (the run's record is there; `record` is its beginning, and
    `log` where a detached run tells its story from now on), `run-started`, `started` (a step is
    performed; `log` grows then), `waiting` (another run makes the same, or resources are in use),
    `retrying`, `ended`, `warning`, `stopping` (the run was asked to stop: nothing new starts),
    `killing` (asked again: what runs is killed), `run-ended` (also when the run broke off),
    `concluding` (`record` is what is recorded next, and until then the run is under way), and last
    `recorded` (`record` is the final record of the run). Where no run is asked for, but a
    forecast or a shell, `preview` comes first; its `message` is the option that asks for it.
    """

    kind: str
    time: float
    step: str = ""
    message: str = ""
    outcome: Outcome | None = None
    total: int = 0
    done: int = 0
    log: Path | None = None
    record: Mapping[str, Any] | None = None
    again: tuple[str, ...] = ()
    """For a task that failed: the command line that runs just it again."""


def _no_secrets() -> Secrets:
    from coopery.secrets import no_secrets

    return no_secrets()


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """All that performing a step gets: made for it alone.

    `folder` is an empty scratch folder on the store's file system (for work in place: the very
    folder of the result, empty). `inputs` holds, by role, a path to read each need from: never
    write there. `log` is a file to append what the step's processes print to. `cache` is a folder
    plugins may share between steps. `cancelled` is set when the step must stop, `killed` when the
    time it was given for that is over.
    """

    step: Step
    folder: Path
    inputs: Mapping[str, Path]
    gathered: Mapping[str, tuple[tuple[str, Path], ...]]
    """By role, the parts of a need that gathers several outputs: relative path -> path."""
    log: Path
    home: Path
    key: str
    cancelled: threading.Event
    killed: threading.Event = field(default_factory=threading.Event)
    run: str = ""
    devices: tuple[int, ...] = ()
    """The numbers of the GPUs that were reserved for it."""
    secrets: Secrets = field(default_factory=_no_secrets)
    """What reads secrets, when the work needs them and no earlier."""
    anew: bool = False
    """Whether it was forced: then no cache of one's own may answer."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What performing a step made: by output, a file or folder inside the workspace's folder.

    The engine moves each into the store, so nothing may write to it any more. `facts` go into
    the record: `exit_code`, `peak_memory` (bytes), `command`, ….
    """

    outputs: Mapping[str, Path]
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """What a person should be told of it now; it is not remembered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """Whether a step's resources are reserved.

    If so, `devices` are the numbers of the GPUs it may use; if not, `lacking` are the resources
    that are in use, by the runs `held_by`. With nothing lacking, a run of higher priority waits.
    """

    granted: bool
    devices: tuple[int, ...] = ()
    lacking: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()


class Store(Protocol):
    """The memory (key -> record) and the objects (identity -> bytes) in the home folder.

    Every verb is safe from several threads and several processes at once.
    """

    def recall(self, keys: Sequence[str]) -> Mapping[str, Record]:
        """The records under these keys; verified, so that damage is a miss."""
        ...

    def remember(self, records: Sequence[Record], successes: Sequence[Success] = ()) -> None:
        """Keep these records, durably: once it returns, a crash loses none of them.

        `successes` are from now on the latest of their recipes' steps; what they keep stays when
        somebody drops the same bytes.
        """
        ...

    def latest(self, recipe: str) -> Mapping[str, Success]:
        """The latest success of each step of a recipe, by the step's name."""
        ...

    def put(self, path: Path) -> Identity:
        """Take a file or folder by rename and return its identity.

        Raises StepError (`special-file`, `link-outside`) for what an output may not hold.
        """
        ...

    def find(self, identity: Identity) -> Path | None:
        """Where the bytes are, to be read only; None if they are gone or damaged."""
        ...

    def place(self, key: str) -> Path:
        """An empty folder in which work in place makes its result.

        What stood there goes; the caller holds the claim on `key`.
        """
        ...

    def complete(self, key: str) -> None:
        """Mark the result in `place(key)` as whole; until then `find` does not see it."""
        ...

    def lease(self, identities: Iterable[Identity]) -> None:
        """Nobody else drops these bytes until this store is closed; `put` leases what it takes.

        Lease before looking: bytes that `find` sees afterwards stay.
        """
        ...

    def drop(self, identity: Identity) -> bool:
        """Forget these bytes; records that name them stay.

        Bytes that another run leases or that a success keeps are left alone: False.
        """
        ...

    def claim(
        self,
        key: str,
        cancelled: threading.Event | None = None,
        *,
        run: str = "",
        waiting: Callable[[str], None] | None = None,
    ) -> Claim:
        """Wait until this thread alone may make `key`; a holder that dies lets go.

        `waiting` is called once, with the run that holds it (empty if unknown), when that takes
        longer than a person would not notice.
        Raises StepError (`cancelled`) when that is set while waiting.
        """
        ...

    def reserve(
        self,
        step: str,
        amounts: Mapping[str, float],
        capacity: Mapping[str, float],
        *,
        run: str,
        priority: int,
    ) -> Reservation:
        """Reserve resources of this machine for a step, if no living process uses too much.

        `capacity` is what all processes together may use. One whose wish is refused is waited for
        by runs of lower `priority`.
        """
        ...

    def release(self, step: str, *, run: str, priority: int) -> None:
        """Give back what was reserved for a step, or is no longer wished for."""
        ...

    def identify(self, path: Path) -> Identity:
        """The identity of a project's file or folder; hashes only what changed since last time."""
        ...

    def identify_many(self, paths: Sequence[Path]) -> Mapping[Path, Identity]:
        """As `identify`, in bulk; paths that do not exist are left out."""
        ...

    def identify_set(self, root: Path, files: Sequence[str]) -> Identity:
        """The identity of a folder that holds exactly these files of `root`."""
        ...

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file or folder (reflinked where the file system can), exec bits and links kept."""
        ...

    def listing(self, identity: Identity) -> Mapping[str, str] | None:
        """Relative path -> digest of a known folder, so that `why` can name the file."""
        ...

    def deliver(self, identity: Identity, destination: Path, *, overwrite: bool) -> None:
        """Put a copy (never a shared inode) at `destination`, atomically.

        Raises StepError (`output-edited`) when something is there that coopery did not write, or
        that was edited since, unless `overwrite`.
        """
        ...

    def deliverable(self, destinations: Sequence[Path]) -> Mapping[Path, str]:
        """What stands at each destination: `absent`, `edited`, or the digest we put there."""
        ...

    def scratch(self, name: str) -> Path:
        """A new empty folder on the store's file system."""
        ...

    def log_path(self, run: str, step: str) -> Path:
        """Where the log of a step of a run is."""
        ...

    def begin_run(
        self, run: str, document: Mapping[str, Any], stop: Callable[[bool], None]
    ) -> RunLog:
        """Begin a run's record (JSON, with `state` = `running`).

        `stop` is called in a thread of its own when another process asks this run to stop: with
        True if at once.
        """
        ...

    def stop_run(self, run: str, *, force: bool) -> bool:
        """Ask the process of a run to stop; False when it does not live."""
        ...

    def runs(self) -> Sequence[str]:
        """The ids of the runs that are kept, latest first."""
        ...

    def living(self) -> Sequence[str]:
        """The ids of the runs whose process lives, latest first; no record is read for that."""
        ...

    def read_run(self, run: str) -> Mapping[str, Any]:
        """A run's record. Raises RecipeError (`unknown-run`).

        While its `state` is `running`, there are besides `progress` (what was appended) and
        `alive` (whether its process lives); `coopery.records.read_run` makes a whole of them.
        """
        ...

    def tidy(self, elsewhere: Elsewhere | None = None) -> str:
        """After a run: evict what the store has no room for; a line for the user, or nothing.

        Of what results keep `elsewhere`, too, which is asked only where there is more of it now.
        """
        ...

    def close(self) -> None:
        """Let go of files and locks."""
        ...


class RunLog(Protocol):
    """The record of a run under way."""

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add entries that others can read at once; they need not survive a power cut."""
        ...

    def end(self, document: Mapping[str, Any]) -> None:
        """Replace all that was written by the final record, atomically, and close."""
        ...

    def close(self) -> None:
        """Let go of it: a run that has not ended then counts as killed."""
        ...


Claim = AbstractContextManager[object]
"""A claim on a key: held from entering the context to its end."""


class Turn(StrEnum):
    """What became of performing a step once."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """For good; or it is skipped, and so is what needs it."""
    AGAIN = "again"
    """It failed, and is to be performed again once it is due."""


class Execution(Protocol):
    """What a scheduler drives: the engine's side of a run."""

    jobs: int
    """How many steps may be performed at a time."""
    needs: Mapping[str, tuple[str, ...]]
    """Every step to be scheduled, in a valid order, with the steps it waits for."""
    priorities: Mapping[str, int]
    """Of the steps that are ready, those of higher priority are performed first."""

    def decide(self, names: Sequence[str]) -> Mapping[str, bool]:
        """For steps whose needs succeeded: True where it is done (recalled), False to perform.

        Call it in one thread at a time, with as many ready steps as there are.
        """
        ...

    def reserve(self, name: str) -> bool:
        """Whether a step has the resources it asks for, from now until it was performed.

        When it has not, other steps may be performed meanwhile; ask again when one of them has
        ended, or after a moment: other runs hold resources too.
        """
        ...

    def perform(self, name: str) -> Turn:
        """Do a decided and reserved step's work, in any thread."""
        ...

    def due(self, name: str) -> float:
        """When a step that is to be performed again may be: seconds of `time.monotonic()`."""
        ...

    def give_up(self, name: str) -> Sequence[str]:
        """A step failed or was skipped: its descendants are skipped; returns their names."""
        ...

    def cancel(self) -> None:
        """End what is being performed, at once; a scheduler calls it when it fails itself."""
        ...

    @property
    def stopping(self) -> bool:
        """No further step may be started."""
        ...
