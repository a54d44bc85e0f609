"""Keys: of all that goes into a step, and the parts of one, which `reasons` compares."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from coopery.digests import digest, plain
from coopery.errors import CooperyError
from coopery.images import ImageBuild, Instruction
from coopery.marks import unkeyed
from coopery.model import TaskSecret
from coopery.shapes import fields_of
from coopery.steps import (
    FileSet,
    FileSource,
    Gathered,
    Identity,
    Need,
    Part,
    Source,
    Step,
    StepSource,
    Store,
)

LISTING = "listing of "
"""What the name of a part begins with that says what another part, a gathered need, is made of."""

ORIGIN = "base image "
"""What the name of the part begins with that is the identity of the base an image begins with."""

LISTED = 64
"""As many outputs of a gathered need are listed: thousands would swell every reader's record."""

FORMAT = 1
"""Raised when keys are made differently, so that no old result is taken for a new one."""


class Vanished(Exception):
    """An input of the project is not there (any more)."""


class Identities:
    """What is known of identities during one run: of files, and of the steps that have ended."""

    def __init__(self, store: Store, steps: Mapping[str, Step]) -> None:
        self.store = store
        self.outputs: dict[str, Mapping[str, Identity]] = {}
        self._sets: dict[tuple[Path, tuple[str, ...]], Identity] = {}
        paths = {
            need.source.path
            for step in steps.values()
            for need in step.needs
            if isinstance(need.source, FileSource)
        }
        self.refused: dict[Path, CooperyError] = {}
        try:
            self.files = dict(store.identify_many(sorted(paths)))
        except CooperyError:
            # One that cannot be read is the business of the steps that read it.
            self.files = {}
            for path in sorted(paths):
                try:
                    self.files.update(store.identify_many([path]))
                except CooperyError as error:
                    self.refused[path] = error

    def known(self, step: Step) -> bool:
        """Whether the identities of all that a step needs are known."""
        return all(name in self.outputs for name in step.waits_for)

    def digest_of(self, source: Source) -> str:
        """The identity of a need as text. Raises Vanished."""
        match source:
            case FileSource(path=path):
                found = self.files.get(path)
                if path in self.refused:
                    raise self.refused[path]
                if found is None:
                    raise Vanished(source.shown)
                return found.digest
            case FileSet(root=root, files=files):
                try:
                    return self.of_set(root, files).digest
                except FileNotFoundError as error:
                    raise Vanished(str(error.filename)) from error
            case StepSource(step=step, output=output, inside=inside):
                return self.outputs[step][output].digest + (f"/{inside}" if inside else "")
            case Gathered(parts=parts):
                lines = "\n".join(f"{path}\0{self.digest_of(part)}" for path, part in parts)
                return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()

    def of_set(self, root: Path, files: tuple[str, ...]) -> Identity:
        """The identity of chosen files of a folder; found once a run."""
        if (root, files) not in self._sets:
            self._sets[root, files] = self.store.identify_set(root, files)
        return self._sets[root, files]

    def key_of(self, step: Step) -> str:
        """The step's key (semantics 2). Raises Vanished when an input is gone."""
        work = step.work
        needs = [[need.role, need.name, self.digest_of(need.source)] for need in step.needs]
        return digest([FORMAT, work.kind, work.version, work, needs, list(step.outputs)])


def parts_of(step: Step, identities: Identities) -> tuple[Part, ...]:
    """The parts of a step's key, each with a name a person knows it by."""
    found = [Part(name="version", value=f"{FORMAT}.{step.work.version}")]
    for item in fields_of(type(step.work)):
        if unkeyed in item.marks:
            continue
        value = getattr(step.work, item.attribute)
        if isinstance(value, Mapping):
            label = _LABELS.get(item.attribute, item.attribute)
            secret = item.attribute == "pass_env"
            show: Callable[[Any], str] = _SHOWN.get(item.attribute, _shown)
            found += [
                Part(name=f"{label} {name}", value=digest(v) if secret else show(v))
                for name, v in value.items()
            ]
        elif item.attribute == "instructions" and isinstance(step.work, ImageBuild):
            found += _parts_of_instructions(step.work.instructions)
        elif isinstance(value, tuple) and value and all(_labelled(v) for v in value):
            found += [Part(name=f"{item.attribute} {v[0]}", value=_shown(v[1])) for v in value]
        else:
            found.append(Part(name=_called(step, item.attribute), value=_shown(value)))
    for need in step.needs:
        found += _parts_of_need(need, identities)
    found.append(Part(name="outputs", value=_shown(list(step.outputs))))
    return tuple(found)


_LABELS = {
    "params": "parameter",
    "env": "variable",
    "pass_env": "variable",
    "secrets": "secret",
}
"""What one of a mapping's items is called."""


def _named(given: TaskSecret) -> str:
    """A task's secret, as a person would say it: `API_TOKEN, rotation 2, as a variable`."""
    rotation = "" if given.rotation is None else f", rotation {json.dumps(given.rotation)}"
    return f"{given.name}{rotation}{', as a variable' if given.how == 'variable' else ''}"


def _parts_of_instructions(instructions: Sequence[Instruction]) -> Iterator[Part]:
    """A part for each line of a Dockerfile; those that set a variable are known by its name."""
    seen: Counter[str] = Counter()
    for item in instructions:
        name, equals, _ = item.arguments.partition("=")
        about = f" {name}" if equals and item.keyword in ("ENV", "LABEL") else ""
        name = f"instruction {item.keyword}{about}"
        seen[name] += 1
        more = f" {seen[name]}" if seen[name] > 1 else ""
        yield Part(name=f"{name}{more}", value=item.arguments)


def _called(step: Step, attribute: str) -> str:
    """What a part is called by: of an image's base, its reference, which is in no key, too."""
    if isinstance(step.work, ImageBuild) and attribute == "origin" and step.work.origin:
        return f"{ORIGIN}{step.work.base.reference}"
    return attribute


def _labelled(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(plain(value), sort_keys=True, ensure_ascii=False)


def _told_apart(value: Any) -> str:
    """As `_shown`, but the text "3" is not shown as the number 3 is: the key tells them apart."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
        return json.dumps(value)
    return _shown(value)


_SHOWN: Mapping[str, Callable[[Any], str]] = {"params": _told_apart, "secrets": _named}
"""How one of a mapping's items is shown."""


def _parts_of_need(need: Need, identities: Identities) -> Iterator[Part]:
    value = identities.digest_of(need.source)
    match need.source:
        case FileSource(shown=shown) | FileSet(shown=shown):
            yield Part(name=f"{need.role} ({shown})", value=value)
        case StepSource(step=step):
            yield Part(name=need.role, value=value, step=step)
        case Gathered(parts=parts):
            yield Part(name=need.role, value=value, step=need.steps[0] if need.steps else None)
            if len(parts) <= LISTED:
                listing = {path: identities.digest_of(source) for path, source in parts}
                yield Part(name=f"{LISTING}{need.role}", value=_encoded(listing))


def _encoded(listing: Mapping[str, str]) -> str:
    return json.dumps(listing, ensure_ascii=False, separators=(",", ":"))


__all__ = ["LISTING", "ORIGIN", "Identities", "Vanished", "parts_of"]
