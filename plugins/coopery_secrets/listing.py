"""`secrets`: what a recipe names of secrets, without ever showing one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from coopery.commands import Context, table
from coopery.errors import KeyPath, MachineError, show_key
from coopery.model import Faceted, Recipe, Secret, secrets_in
from coopery.opening import Request, open_recipe
from coopery_secrets import SecretOptions, sources

HEADER = ("SECRET", "USED BY", "SOURCE")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A secret, the keys of the recipe that name it, and where it is; else why it is not."""

    name: str
    used_by: tuple[str, ...]
    source: str | None
    problem: str | None = None


def run(context: Context) -> int:
    """List them; 3 when one is missing, else 0."""
    request = Request(file=context.arguments.file)
    opened = open_recipe(request, context.plugins, context.settings)
    uses: dict[str, list[str]] = {}
    wanted: dict[str, Secret] = {}
    for key, secret in named(opened.recipe):
        uses.setdefault(secret.name, []).append(show_key(key))
        wanted.setdefault(secret.name, secret)
    found = [_look(context, wanted[name], tuple(keys)) for name, keys in sorted(uses.items())]
    document = {"secrets": [_document(listed) for listed in found]}
    rows = [(x.name, ", ".join(x.used_by), x.source or "MISSING") for x in found]
    text = table(rows, HEADER) if rows else "the recipe names no secrets"
    told = [f"{x.name}: {x.problem}" for x in found if x.problem]
    context.answer(document, "\n\n".join([text, *(["\n".join(told)] if told else [])]))
    return 3 if told else 0


def _document(listed: Listed) -> dict[str, Any]:
    return {
        "name": listed.name,
        "used_by": list(listed.used_by),
        "there": listed.source is not None,
        "source": listed.source,
        "problem": listed.problem,
    }


def _look(context: Context, secret: Secret, keys: tuple[str, ...]) -> Listed:
    """Whether it is there: it is read for that, and forgotten."""
    try:
        plugin = context.plugins.source_of_secret(secret, context.settings)
        source = f"the plugin {plugin}"
        if plugin == "secrets":
            declared = context.settings.get(SecretOptions).secret
            source = sources.find(secret.name, declared).source
    except MachineError as error:
        told = error.problems[0]
        return Listed(name=secret.name, used_by=keys, source=None, problem=told.message)
    return Listed(name=secret.name, used_by=keys, source=source)


def named(recipe: Recipe) -> Iterator[tuple[KeyPath, Secret]]:
    """Every place of a recipe where a secret is named; a default's stands for all its tasks."""
    usual = recipe.defaults.secrets
    yield from secrets_in(recipe.defaults, ("defaults",))
    for image in recipe.images.values():
        yield from secrets_in(image, ("image", image.name))
    for task in recipe.tasks.values():
        key: KeyPath = ("task", task.name)
        own = {n: s for n, s in task.secrets.items() if usual.get(n) is not s}
        yield from secrets_in(own, (*key, "secrets"))
        yield from secrets_in(Faceted(facets=task.facets), key)
    yield from secrets_in(Faceted(facets=recipe.facets))
