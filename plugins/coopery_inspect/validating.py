"""`validate`: all that can be said of a recipe without planning or running it."""

from __future__ import annotations

from typing import Any

from coopery.commands import Context
from coopery.errors import Problem, RecipeError, show_key
from coopery.opening import Request, open_recipe


def run(context: Context) -> int:
    """Check the recipe; 2 when something is wrong with it. Warnings leave it at 0."""
    arguments = context.arguments
    if arguments.path is not None and arguments.path != arguments.file:
        message = f"two recipes are given: {arguments.file} and {arguments.path}"
        raise RecipeError(Problem(slug="bad-command-line", message=message, hint="name one"))
    try:
        opened = open_recipe(Request(file=arguments.file), context.plugins, context.settings)
    except RecipeError as error:
        if not arguments.json:
            raise
        problems = [_document(problem) for problem in error.problems]
        context.answer({"ok": False, "problems": problems}, "")
        return error.exit_code
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
    if not arguments.json:
        for warning in opened.warnings:
            context.tell(f"warning: {warning}")
    shown = ", ".join(_count(number, noun) for noun, number in counts.items())
    context.answer(document, f"{opened.shown}: ok ({shown})")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun.removesuffix('s') if number == 1 else noun}"


def _document(problem: Problem) -> dict[str, Any]:
    place = problem.place
    return {
        "slug": problem.slug,
        "message": problem.message,
        "file": place.file,
        "line": place.line,
        "key": show_key(place.key) or None,
        "hint": problem.hint,
    }
