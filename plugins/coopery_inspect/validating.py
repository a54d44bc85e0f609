"""`validate`: all that can be said of a recipe, or another document, without running it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coopery.commands import Context
from coopery.errors import Problem, RecipeError
from coopery.opening import Request, open_recipe

if TYPE_CHECKING:
    from coopery.formats import Format


def run(context: Context) -> int:
    """Check a recipe or another document; 2 when something is wrong. Warnings leave it at 0."""
    arguments = context.arguments
    if arguments.path is not None and arguments.path != arguments.file:
        message = f"two recipes are given: {arguments.file} and {arguments.path}"
        raise RecipeError(Problem(slug="bad-command-line", message=message, hint="name one"))
    try:
        kind = _kind_of(context)
        return _check_recipe(context) if kind is None else _check(kind, context)
    except RecipeError as error:
        if not arguments.json:
            raise
        problems = [_document(problem) for problem in error.problems]
        context.answer({"ok": False, "problems": problems}, "")
        return error.exit_code


def _kind_of(context: Context) -> Format | None:
    """What the file is: as `--schema` says, else by its contents; None for a recipe."""
    chosen, file = context.arguments.schema, context.arguments.file
    known: Mapping[str, Format] = context.plugins.declare_formats() if chosen or file else {}
    if chosen == "recipe":
        return None
    if chosen is not None:
        from coopery.formats import nearest_of

        hint = nearest_of(chosen, known)
        if chosen not in known:
            message = f"there is no kind of document {chosen!r}"
            raise RecipeError(Problem(slug="bad-command-line", message=message, hint=hint))
        if file is None:
            message = f"no file is named that is to be a {chosen}"
            hint = f"name it: coopery validate FILE --schema {chosen}"
            raise RecipeError(Problem(slug="bad-command-line", message=message, hint=hint))
        return known[chosen]
    path = Path(file) if file else None
    if path is None or not path.is_file():
        return None
    return next((kind for kind in known.values() if kind.recognises(path, file)), None)


def _check(kind: Format, context: Context) -> int:
    """Check a document that is no recipe."""
    file = context.arguments.file
    checked = kind.check(Path(file), file, context.arguments.sets, context.settings)
    _tell(checked.warnings, context)
    document = {
        "ok": True,
        "file": file,
        "kind": kind.name,
        "problems": [],
        "warnings": [_document(warning) for warning in checked.warnings],
    }
    context.answer(document, f"{file}: ok ({checked.about})")
    return 0


def _check_recipe(context: Context) -> int:
    arguments = context.arguments
    request = Request(file=arguments.file, sets=tuple(arguments.sets))
    try:
        opened = open_recipe(request, context.plugins, context.settings)
    except RecipeError as error:
        raise RecipeError(*(_with_kinds(found, context) for found in error.problems)) from None
    recipe = opened.recipe
    counts = {
        "tasks": len(recipe.tasks),
        "instances": len(opened.nodes),
        "images": len(recipe.images),
    }
    document = {
        "ok": True,
        "recipe": str(recipe.file),
        **counts,
        "problems": [],
        "warnings": [_document(warning) for warning in opened.warnings],
    }
    _tell(opened.warnings, context)
    shown = ", ".join(_count(number, noun) for noun, number in counts.items())
    context.answer(document, f"{opened.shown}: ok ({shown})")
    return 0


def _with_kinds(found: Problem, context: Context) -> Problem:
    """Of a file that nothing was made of, what else it might be."""
    kinds = context.plugins.declare_formats()
    if found.slug != "unknown-recipe-kind" or not kinds:
        return found
    return replace(found, hint=f"{found.hint}; --schema says that it is a {' or a '.join(kinds)}")


def _tell(warnings: Iterable[Problem], context: Context) -> None:
    if not context.arguments.json:
        for warning in warnings:
            context.tell(f"warning: {warning}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun.removesuffix('s') if number == 1 else noun}"


def _document(problem: Problem) -> dict[str, Any]:
    place = problem.place
    return {
        "slug": problem.slug,
        "message": problem.message,
        "file": place.file,
        "line": place.line,
        "key": place.shown_key or None,
        "hint": problem.hint,
    }
