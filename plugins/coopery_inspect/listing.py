"""`list`, `plugins` and `schema`: what there is, without store or lock."""

from __future__ import annotations

import json
from typing import Any

from coopery.commands import Context, table
from coopery.errors import Problem, RecipeError
from coopery.model import Recipe
from coopery.opening import Opened, Request, open_recipe


def run(context: Context) -> int:
    """List the tasks and images of the recipe."""
    opened = open_recipe(Request(file=context.arguments.file), context.plugins, context.settings)
    document = {
        "recipe": str(opened.recipe.file),
        "runtime": opened.runtime,
        "tasks": _tasks(opened),
        "images": _images(opened.recipe),
    }
    context.answer(document, _text(document))
    return 0


def _tasks(opened: Opened) -> list[dict[str, Any]]:
    instances: dict[str, list[str]] = {name: [] for name in opened.recipe.tasks}
    for name, node in opened.nodes.items():
        instances[node.instance.task.name].append(name)
    return [
        {
            "name": task.name,
            "description": task.description,
            "image": task.image,
            "notes": [] if task.image else ["unpinned"],
            "matrix": {axis: list(values) for axis, values in task.matrix.items()},
            "instances": instances[task.name],
            "inputs": list(task.inputs),
            "outputs": list(task.outputs),
        }
        for task in opened.recipe.tasks.values()
    ]


def _images(recipe: Recipe) -> list[dict[str, Any]]:
    from coopery.model import HOST_PYTHON

    return [
        {
            "name": image.name,
            "description": image.description,
            "python": image.python or HOST_PYTHON,
            "tasks": [task.name for task in recipe.tasks.values() if task.image == image.name],
        }
        for image in recipe.images.values()
    ]


def _text(document: dict[str, Any]) -> str:
    tasks: list[tuple[str, ...]] = [
        (
            task["name"],
            _size(task),
            task["image"] or f"host ({', '.join(task['notes'])})",
            _first_line(task["description"]),
        )
        for task in document["tasks"]
    ]
    images: list[tuple[str, ...]] = [
        (
            image["name"],
            image["python"],
            ", ".join(image["tasks"]) or "-",
            _first_line(image["description"]),
        )
        for image in document["images"]
    ]
    parts = []
    if tasks:
        parts.append(table(tasks, ("TASK", "INSTANCES", "IMAGE", "DESCRIPTION")))
    if images:
        parts.append(table(images, ("IMAGE", "PYTHON", "TASKS", "DESCRIPTION")))
    return "\n\n".join(parts) or "the recipe is empty"


def _size(task: dict[str, Any]) -> str:
    """How many instances, and over which axes: `6 (depth, fold)`."""
    axes = ", ".join(task["matrix"])
    return f"{len(task['instances'])}{f' ({axes})' if axes else ''}"


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[0].strip() if lines else ""


def run_plugins(context: Context) -> int:
    """List the plugins, where each comes from, and the hooks it answers."""
    from importlib.metadata import entry_points

    sources = {
        entry.name: entry.dist for entry in entry_points(group="coopery") if entry.dist is not None
    }
    document: list[dict[str, Any]] = []
    for name, plugin in context.plugins.listing:
        source = sources.get(name)
        document.append(
            {
                "name": name,
                "module": getattr(plugin, "__name__", type(plugin).__qualname__),
                "distribution": source.name if source else None,
                "version": source.version if source else None,
                "hooks": list(context.plugins.hooks_of(plugin)),
            }
        )
    rows: list[tuple[str, ...]] = [
        (
            p["name"],
            p["module"],
            f"{p['distribution']} {p['version']}" if p["distribution"] else "-",
            ", ".join(p["hooks"]) or "(none)",
        )
        for p in document
    ]
    context.answer(document, table(rows, ("PLUGIN", "MODULE", "DISTRIBUTION", "HOOKS")))
    return 0


def run_schema(context: Context) -> int:
    """Print the schema of recipes, of records with `--record`, or of another kind of document."""
    from coopery import record_schema
    from coopery.schemas import recipe_schema

    chosen = context.arguments.format
    if chosen is not None and context.arguments.record:
        raise _bad("--record and a kind of document are given", "name one")
    document: Any
    if chosen not in (None, "recipe"):
        document = _schema_of(chosen, context)
    elif context.arguments.record:
        document = record_schema.schema()
    else:
        document = recipe_schema(context.plugins.declare_facets())
    # Byte for byte what the reference publishes, with --json or without.
    context.print(json.dumps(document, indent=2, ensure_ascii=False))
    return 0


def _schema_of(chosen: str, context: Context) -> Any:
    from coopery.formats import nearest_of

    known = {k: f for k, f in context.plugins.declare_formats().items() if f.schema}
    if chosen not in known or (make := known[chosen].schema) is None:
        hint = nearest_of(chosen, known) or "there is only that of recipes"
        raise _bad(f"there is no schema of {chosen!r}", hint)
    return make()


def _bad(message: str, hint: str) -> RecipeError:
    return RecipeError(Problem(slug="bad-command-line", message=message, hint=hint))
