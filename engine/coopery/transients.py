"""Which bytes a run still wants, and which may go: outputs that only pass through (S4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from coopery.steps import Identity, Step

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
        self._reads: dict[str, list[Output]] = {}
        self._open: Counter[Output] = Counter()
        self._passing: set[Output] = set()
        """Outputs that go once their readers have ended."""
        for name in steps if readers is None else readers:
            read = {
                (source.step, source.output)
                for need in steps[name].needs
                for source in need.outputs
                if source.output in steps[source.step].transient
            }
            if read:
                self._reads[name] = sorted(read)
                self._open.update(read)
                self._passing |= read
        self._made: dict[Output, Identity] = {}
        self._wanted: Counter[str] = Counter()

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
        return [identity for identity in found if not self._wanted[identity.digest]]

    def ended(self, name: str) -> list[Identity]:
        """A reader succeeded or finally failed; returns what may go."""
        found = []
        for which in self._reads.pop(name, ()):
            self._open[which] -= 1
            identity = self._made.get(which)
            if not self._open[which] and identity is not None:
                self._wanted[identity.digest] -= 1
                found.append(identity)
        return [identity for identity in found if not self._wanted[identity.digest]]
