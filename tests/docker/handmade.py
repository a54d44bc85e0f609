"""A third party's plugin: hand-made images, so that the runtime is tested without any other.

It shows that the hooks are enough: `choose_base`, `resolve` and `render_image`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from coopery.dependencies import DependencySet, Layer, Lock
from coopery.hooks import hookimpl
from coopery.images import Base, Blueprint, Copied, Instruction, Part
from coopery.model import Image, Recipe

BASE = os.environ.get("HANDMADE_BASE", "python:3.11-slim")
RUN = os.environ.get("HANDMADE_RUN", "mkdir -p /work && chmod 0777 /work")


@hookimpl
def choose_base(recipe: Recipe, image: Image) -> str:
    return BASE


@hookimpl
def resolve(sets: Sequence[DependencySet], inspect: Callable[[str], Base]) -> Lock:
    bases = {s.image: inspect(s.base) for s in sets if s.base}
    return Lock(pins={s.image: () for s in sets}, bases=bases)


@hookimpl
def render_image(image: Image, layers: Sequence[Layer], base: Base, home: Path) -> Blueprint:
    python = Instruction(keyword="RUN", arguments=RUN, caches=("/var/cache/handmade",))
    link = Instruction(keyword="RUN", arguments="ln -sf /usr/bin/python3 /usr/local/bin/python")
    # After what takes long: an image of this home alone, for tests run side by side.
    own = hashlib.sha256(str(home).encode()).hexdigest()
    mark = Instruction(keyword="ENV", arguments=f'HANDMADE="{own}"')
    named = {name: key for layer in layers for name, key in layer.named.items()}
    parts = [Part(name="system", instructions=(python, link, mark), named=named)]
    files = [item for layer in layers for item in layer.files]
    if files:
        copies = tuple(
            Copied(path=f"sources/work/{path}", need=need, writable=True) for path, need in files
        )
        copy = Instruction(keyword="COPY", arguments="sources/ /")
        steps = tuple(step for layer in layers for step in layer.steps)
        parts.append(Part(name="sources", instructions=(copy,), copies=copies, steps=steps))
    env = {name: value for layer in layers for name, value in layer.env.items()}
    lines = [Instruction(keyword="ENV", arguments=f'{n}="{v}"') for n, v in env.items()]
    lines.append(Instruction(keyword="WORKDIR", arguments="/work"))
    parts.append(Part(name="settings", instructions=tuple(lines)))
    labels = {"org.opencontainers.image.description": "made by hand", "coopery.test": "handmade"}
    return Blueprint(image=image.name, base=base, parts=tuple(parts), labels=labels)
