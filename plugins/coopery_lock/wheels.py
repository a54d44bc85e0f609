"""Whether every locked package has a wheel for the platform of an image's base.

Nothing is built for another platform than this machine's, and in an image nothing is built at all:
what has no such wheel is found here, before anything is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from coopery.dependencies import Requirement
from coopery.errors import Place, Problem, RecipeError
from coopery.targets import Target
from coopery_lock.lines import name_of
from coopery_lock.solver import Solution, mend_of
from coopery_lock.wanted import Wanted


def has_wheels(solution: Solution, target: Target, python: str) -> bool:
    """Whether all packages of a solution can be had as wheels for a target."""
    return not any(True for _ in _lacking(solution, target, python))


def _lacking(solution: Solution, target: Target, python: str) -> Iterator[str]:
    for name, files in solution.files.items():
        if files and not target.takes(files, python):
            yield name


def check_wheels(item: Wanted, solution: Solution) -> None:
    """Raises RecipeError (`wheel-unavailable`) with every package that has none."""
    python = item.dependencies.python
    versions = {package.name: package.version for package in solution.packages}
    problems = [
        _problem(item, target, name, versions[name], solution)
        for target in item.targets
        for name in _lacking(solution, target, python)
    ]
    if problems:
        raise RecipeError(*problems)


def _problem(item: Wanted, target: Target, name: str, version: str, solution: Solution) -> Problem:
    python = item.dependencies.python
    images = ", ".join(repr(image) for image in item.images)
    wheels = sorted(file for file in solution.files[name] if file.endswith(".whl"))
    there = f"there is {_few(wheels)}" if wheels else "it is only there as a source distribution"
    message = (
        f"{name} {version} has no wheel for the platform of image {images} "
        f"({target.uv}, Python {python}): {there}"
    )
    place = _place_of(item, name, solution.asked_by)
    return Problem(slug="wheel-unavailable", message=message, place=place, hint=mend_of(name))


def _few(names: list[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _place_of(item: Wanted, name: str, asked_by: Mapping[str, tuple[str, ...]]) -> Place:
    """Where a package is asked for, or else what brings it along."""
    dependencies = item.dependencies
    lines: list[Requirement] = [r for r in dependencies.requirements if not r.constraint]
    lines += [r for local in dependencies.locals for r in local.requires]
    places = {name_of(line.line): line.place for line in reversed(lines)}
    pending = [name]
    for wanted in pending:
        if wanted in places:
            return places[wanted]
        pending += [other for other in asked_by.get(wanted, ()) if other not in pending]
    return next(iter(places.values()), Place())
