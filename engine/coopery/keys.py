"""Keys: of all that goes into a step, and the parts of one, so that a difference has a name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coopery.digests import digest, plain
from coopery.errors import CooperyError
from coopery.shapes import fields_of, unkeyed
from coopery.steps import (
    FileSet,
    FileSource,
    Gathered,
    Identity,
    Need,
    Part,
    Record,
    Source,
    Step,
    StepSource,
    Store,
)

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
            label = {"params": "parameter", "env": "variable", "pass_env": "variable"}.get(
                item.attribute, item.attribute
            )
            secret = item.attribute == "pass_env"
            found += [
                Part(name=f"{label} {name}", value=digest(v) if secret else _shown(v))
                for name, v in value.items()
            ]
        elif isinstance(value, tuple) and value and all(_labelled(v) for v in value):
            found += [Part(name=f"{item.attribute} {v[0]}", value=_shown(v[1])) for v in value]
        else:
            found.append(Part(name=item.attribute, value=_shown(value)))
    for need in step.needs:
        found.append(_part_of_need(need, identities))
    found.append(Part(name="outputs", value=_shown(list(step.outputs))))
    return tuple(found)


def _labelled(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(plain(value), sort_keys=True, ensure_ascii=False)


def _part_of_need(need: Need, identities: Identities) -> Part:
    value = identities.digest_of(need.source)
    match need.source:
        case FileSource(shown=shown) | FileSet(shown=shown):
            return Part(name=f"{need.role} ({shown})", value=value)
        case StepSource(step=step):
            return Part(name=need.role, value=value, step=step)
        case Gathered():
            return Part(name=need.role, value=value, step=need.steps[0] if need.steps else None)


def differences(
    old: Sequence[Part], new: Sequence[Part], store: Store | None = None
) -> tuple[str, ...]:
    """What differs between the parts of two keys, in words."""
    before = {part.name: part for part in old}
    after = {part.name: part for part in new}
    words = []
    for name, part in after.items():
        other = before.get(name)
        if other is None:
            words.append(f"{name} is new")
        elif other.value != part.value:
            words.append(_changed(other, part, store))
    words += [f"{name} is gone" for name in before if name not in after]
    return tuple(words)


def _changed(old: Part, new: Part, store: Store | None) -> str:
    inside = _inside(old.value, new.value, store)
    if inside:
        return f"{new.name} changed: {inside}"
    if all(len(v) == 64 and not v.strip("0123456789abcdef") for v in (old.value, new.value)):
        return f"{new.name} changed"
    return f"{new.name} changed: {_short(old.value)} -> {_short(new.value)}"


def _inside(old: str, new: str, store: Store | None) -> str:
    """Which files of a folder differ, when both states of it are known."""
    if store is None or len(old) != 64 or len(new) != 64:
        return ""
    listings = [store.listing(Identity(digest=value, kind="folder")) for value in (old, new)]
    before, after = listings
    if before is None or after is None:
        return ""
    words = [f"{path} is new" for path in after if path not in before]
    words += [f"{path} is gone" for path in before if path not in after]
    words += [path for path in after if path in before and before[path] != after[path]]
    return ", ".join(sorted(words)[:5]) + (", …" if len(words) > 5 else "")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"


def explain(record: Record | None, step: Step, identities: Identities) -> tuple[str, str]:
    """Why a step has no result under its key: a code (`new`, `changed`) and words."""
    if record is None:
        return "new", "nothing like it was made before"
    words = differences(record.parts, parts_of(step, identities), identities.store)
    return "changed", "; ".join(words) or "a part that is not recorded changed"


__all__ = ["Identities", "Vanished", "differences", "explain", "parts_of"]
