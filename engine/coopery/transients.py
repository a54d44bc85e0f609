"""Which bytes a run still wants, and which may go: outputs that only pass through (S4)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from coopery.steps import Identity, Step, Store

Output = tuple[str, str]
"""A step's name and one of its outputs."""


class Transients:
    """Counts the open readers of each transient output of a plan (semantics 21).

    The readers are those of the plan. One has ended when it succeeded or finally failed; one that
    was skipped or cancelled will want the bytes in the next run. An output without a reader in
    the plan stays, and so does one whose bytes another output of this run is made of.
    """

    def __init__(self, steps: Mapping[str, Step], readers: Iterable[str] | None = None) -> None:
        """`readers` are the steps that count; by default all."""
        self._steps = steps
        self._open: Counter[Output] = Counter()
        self._uses: Counter[str] = Counter()
        """How often each reader is to end yet."""
        self._made: dict[Output, Identity] = {}
        self._wanted: Counter[str] = Counter()
        names = list(steps if readers is None else readers)
        self._passing = {which for name in names for which in self._transient(name)}
        """Outputs that go once their readers have ended."""
        for name in names:
            self.again(name)

    def _transient(self, name: str) -> list[Output]:
        """The transient outputs that a step reads."""
        read = {
            (source.step, source.output)
            for need in self._steps[name].needs
            for source in need.outputs
            if source.output in self._steps[source.step].transient
        }
        return sorted(read)

    def _reads(self, name: str) -> list[Output]:
        return [which for which in self._transient(name) if which in self._passing]

    def again(self, name: str) -> None:
        """A reader is to be performed (once more, for its bytes): what it reads is wanted."""
        self._uses[name] += 1
        for which in self._reads(name):
            self._open[which] += 1
            if self._open[which] == 1 and which in self._made:
                self._wanted[self._made[which].digest] += 1

    def made(self, name: str, outputs: Mapping[str, Identity]) -> list[Identity]:
        """A step's outputs are known (once more, when it was made again); returns what may go."""
        found = []
        for output, identity in outputs.items():
            which = (name, output)
            before = self._made.get(which)
            self._made[which] = identity
            if which in self._passing and not self._open[which]:
                found.append(identity)
            elif before != identity:
                if before is not None:
                    self._wanted[before.digest] -= 1
                self._wanted[identity.digest] += 1
        return self._unwanted(found)

    def ended(self, name: str) -> list[Identity]:
        """A reader succeeded or finally failed; returns what may go."""
        if not self._uses[name]:
            return []
        self._uses[name] -= 1
        found = []
        for which in self._reads(name):
            self._open[which] -= 1
            identity = self._made.get(which)
            if not self._open[which] and identity is not None:
                self._wanted[identity.digest] -= 1
                found.append(identity)
        return self._unwanted(found)

    def wants(self, identity: Identity) -> bool:
        """Whether an output that is known is made of these bytes, and is to stay for now."""
        return self._wanted[identity.digest] > 0

    def _unwanted(self, identities: list[Identity]) -> list[Identity]:
        return [identity for identity in identities if not self._wanted[identity.digest]]


class Dropper:
    """Lets bytes go, save those that another step of this run has taken a moment ago.

    Between the moment in which a step's outputs enter the store and that in which they are known
    to `Transients`, nobody else can know that their bytes are wanted. `lock` guards both.
    """

    def __init__(self, store: Store, transients: Transients, lock: threading.RLock) -> None:
        self._store = store
        self._transients = transients
        self._lock = lock
        self._taking = 0
        self._held: dict[str, frozenset[str]] = {}
        """By step, the digests of outputs that are taken, and not known yet."""
        self._going: dict[str, Identity] = {}

    @contextmanager
    def taking(self, step: str) -> Iterator[Callable[[Iterable[Identity]], None]]:
        """While outputs enter the store nothing goes; what comes with them says which they are."""
        with self._lock:
            self._taking += 1
        try:
            yield lambda identities: self.hold(step, identities)
        finally:
            with self._lock:
                self._taking -= 1
                self._flush()

    def hold(self, step: str, identities: Iterable[Identity]) -> None:
        """These bytes stay until the step's outputs are known."""
        with self._lock:
            self._held[step] = frozenset(identity.digest for identity in identities)

    def known(self, step: str) -> None:
        """A step has ended, and whatever it made is known."""
        with self._lock:
            if self._held.pop(step, None):
                self._flush()

    def drop(self, identities: Iterable[Identity]) -> None:
        """These bytes are not wanted: they go now, or as soon as it is sure."""
        with self._lock:
            self._going.update((identity.digest, identity) for identity in identities)
            self._flush()

    def _flush(self) -> None:
        if self._taking or not self._going:
            return
        held = frozenset[str]().union(*self._held.values())
        for digest, identity in list(self._going.items()):
            if digest in held:
                continue
            del self._going[digest]
            if not self._transients.wants(identity):
                self._store.drop(identity)
