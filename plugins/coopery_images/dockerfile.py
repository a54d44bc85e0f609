"""The whole of an image as one Dockerfile, for people and for plain `docker build`."""

from __future__ import annotations

from collections.abc import Sequence

from coopery import __version__
from coopery.images import Blueprint, Instruction
from coopery_images import quoting


def dockerfile_of(
    blueprint: Blueprint, more: Sequence[Instruction] = (), *, buildkit: bool = False
) -> str:
    """The Dockerfile of an image, with `more` instructions at its end.

    With `buildkit`, folders are kept from one build to the next, which the classic builder cannot.
    """
    lines = [
        f"# Image {blueprint.image}, written by coopery {__version__}: change the recipe instead.",
        f"FROM {blueprint.base.pinned}",
    ]
    for part in blueprint.parts:
        lines += ["", f"# {part.name}"]
        lines += [said.line(buildkit=buildkit) for said in part.instructions]
    if more:
        lines += ["", "# task", *(said.line(buildkit=buildkit) for said in more)]
    if blueprint.labels:
        lines += ["", "# labels"]
        for name, value in sorted(blueprint.labels.items()):
            lines.append(quoting.label({name: value}).line(buildkit=buildkit))
    return "\n".join(lines) + "\n"
