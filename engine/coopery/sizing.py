"""What steps take by the data that they read: asked of plugins once that data is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery import resources
from coopery.errors import MachineError, StepError
from coopery.files import beneath
from coopery.keys import Identities
from coopery.steps import FileSource, Gathered, Need, Sizing, Step, StepSource, Store
from coopery.tasks import Bound, TaskWork

if TYPE_CHECKING:
    from coopery.plugins import Plugins

Parts = tuple[tuple[str, Path], ...]
"""The files and folders of a channel, each with its path within it; empty for all of it."""


class Sizes:
    """What the steps of one run take; `capacity` is what all runs on this home may use together."""

    def __init__(
        self,
        plugins: Plugins,
        store: Store,
        identities: Identities,
        capacity: Mapping[str, float],
    ) -> None:
        self._plugins = plugins
        self._store = store
        self._identities = identities
        self._capacity = capacity
        self._known: dict[str, Sizing] = {}

    def find(self, step: Step) -> None:
        """Find out what a step takes, if its data says so and is there: bytes may be gone that are
        made anew before it is performed.

        Raises StepError and MachineError (`never-fits`) for what cannot be run so, and OSError.
        """
        if not step.by_data or step.name in self._known:
            return
        data = self._data(step)
        if data is None:
            return
        bound = _bound(step)
        outputs = {name: Path(path) for name, path in bound.outputs.items()}
        sizing = self._plugins.size_step(step, data, outputs)
        if sizing is None:
            return
        if sizing.wrong:
            raise StepError(*sizing.wrong)
        if wrong := resources.check([replace(step, resources=sizing.resources)], self._capacity):
            raise MachineError(*wrong)
        self._known[step.name] = sizing

    def forget(self, step: Step) -> None:
        """Its data may be another by now: it is to be looked at again."""
        self._known.pop(step.name, None)

    def amounts(self, step: Step) -> Mapping[str, float]:
        """What is reserved for a step, as far as is known."""
        sizing = self._known.get(step.name)
        return sizing.resources if sizing else step.resources

    def sized(self, step: Step) -> Step:
        """The step with what it takes; its key is the same."""
        sizing = self._known.get(step.name)
        return replace(step, work=sizing.work, resources=sizing.resources) if sizing else step

    def facts(self, step: Step) -> Mapping[str, Any]:
        """What the record tells of it."""
        sizing = self._known.get(step.name)
        return sizing.facts if sizing else {}

    def _data(self, step: Step) -> dict[str, Parts] | None:
        """By channel, what a step reads; None where bytes of it are gone."""
        found: dict[str, Parts] = {
            name: (("", Path(path)),) for name, path in _bound(step).inputs.items()
        }
        for need in step.needs:
            side, _, channel = need.role.partition(" ")
            if side != "input":
                continue
            parts = self._parts(need)
            if parts is None:
                return None
            found[channel] = parts
        return found

    def _parts(self, need: Need) -> Parts | None:
        sources: Sequence[tuple[str, StepSource]] = ()
        match need.source:
            case FileSource(path=path):
                return (("", path),)
            case StepSource() as source:
                sources = (("", source),)
            case Gathered(parts=parts):
                sources = parts
        found = []
        for inner, source in sources:
            place = self._store.find(self._identities.outputs[source.step][source.output])
            if place is None:
                return None
            found.append((inner, beneath(place, source.inside) if source.inside else place))
        return tuple(found)


def _bound(step: Step) -> Bound:
    return step.work.bound if isinstance(step.work, TaskWork) else Bound()
