"""What is wrong with what a recipe says of templates and specifications, before any plan."""

from __future__ import annotations

import os
from collections.abc import Iterator

from coopery.dependencies import Layer, Stage
from coopery.errors import KeyPath, Problem, RecipeError, nearest, problem
from coopery.expanding import check_text, placeholder_groups
from coopery.model import Image, Recipe, Task
from coopery.steps import FileSource, Need
from coopery_taskapi.finding import FILE
from coopery_taskapi.specifications import file_of, specified_by
from coopery_taskapi.uses import SpecificationFile, TemplateUse


def check(recipe: Recipe) -> Iterator[Problem]:
    """Every specification of an image, and of every task of a template what the recipe says."""
    for image in recipe.images.values():
        if own := image.facet(SpecificationFile):
            yield from _check_file(recipe, image, own)
    for task in recipe.tasks.values():
        use = task.facet(TemplateUse)
        if use is None:
            continue
        key: KeyPath = ("task", task.name, "template")
        problems: list[Problem] = []
        for index, item in enumerate(use.command or ()):
            groups = placeholder_groups(task)
            check_text(item, groups, (*key, "command", index), problems)
        yield from problems
        yield from _check_use(recipe, task, use)
        channels = (*task.inputs, *task.outputs)
        for name in use.scale_rule:
            if name not in channels:
                hint = nearest(name, channels) or "the task has no channels"
                where = (*key, "scale_rule", name)
                message = f"there is no channel {name!r}"
                yield problem("unknown-channel", message, key=where, hint=hint)


def _check_file(recipe: Recipe, image: Image, own: SpecificationFile) -> Iterator[Problem]:
    try:
        file = file_of(recipe, image, own)
        if not os.path.lexists(file):
            # What is wrong in a file has its place there; that it is not there, where it is named.
            key: KeyPath = ("image", image.name, "specification")
            hint = "write one, or begin with `coopery init --from image IMAGE`"
            yield problem("missing-input", f"there is no {own.path}", key=key, hint=hint)
            return
        specified_by(file)
    except RecipeError as error:
        yield from error.problems


def _check_use(recipe: Recipe, task: Task, use: TemplateUse) -> Iterator[Problem]:
    """What the task's image says, where it says so in a file of the project, is heeded."""
    image = recipe.images.get(task.image or "")
    own = image.facet(SpecificationFile) if image else None
    if image is None or own is None:
        return
    try:
        specified = specified_by(file_of(recipe, image, own))
    except RecipeError:
        return  # it is told of the image
    from coopery_taskapi.planning import misfits

    yield from misfits(task, use, specified)


def layers_of(recipe: Recipe, image: Image) -> Iterator[Layer]:
    """What puts an image's specification where all who look for it find it."""
    own = image.facet(SpecificationFile)
    if own is None:
        return
    file = file_of(recipe, image, own)
    need = Need(role="specification", source=FileSource(path=file, shown=own.path))
    yield Layer(name="specification", stage=Stage.SOURCES, rooted=((FILE, need),))
