"""What an answer to a hook must be; nothing is imported to check it.

What an answer is an instance of has been imported by whoever made it: a class that is not loaded
yet has no instances.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from coopery.errors import Place

if TYPE_CHECKING:
    from coopery.steps import Made, Step, Workspace

_NOUNS = {
    "add_commands": "coopery.commands:Command",
    "declare_facets": "coopery.recipes:Facet",
    "declare_drafts": "coopery.formats:Draft",
    "declare_formats": "coopery.formats:Format",
    "load_recipe": "coopery.recipes:Document",
    "check": "coopery.errors:Problem",
    "collect_requirements": "coopery.dependencies:Contribution",
    "resolve": "coopery.dependencies:Lock",
    "add_layers": "coopery.dependencies:Layer",
    "render_image": "coopery.images:Blueprint",
    "inspect_base": "coopery.images:Base",
    "look_into_image": "coopery.glimpses:Glimpse",
    "plan_image": "coopery.dependencies:ImagePlan",
    "freeze_task": "coopery.dependencies:Frozen",
    "plan_task": "coopery.dependencies:Invocation",
    "size_step": "coopery.steps:Sizing",
    "authorize": "coopery.errors:Problem",
    "perform": "coopery.steps:Made",
    "weigh": "coopery.elsewhere:Holding",
    "diagnose": "coopery.findings:Finding",
}
_STEPS = "coopery.steps:Step"
_NEEDS = "coopery.steps:Need"
_FIELDS: dict[str, dict[str, Any]] = {
    "add_commands": {"name": str, "help": str, "run": Callable, "configure": Callable},
    "declare_facets": {"key": str, "noun": ("image", "task", "recipe")},
    "declare_drafts": {"name": str, "make": Callable},
    "declare_formats": {"name": str, "recognises": Callable, "check": Callable},
    "load_recipe": {"data": Mapping, "locate": Callable, "problems": ["coopery.errors:Problem"]},
    "check": {"slug": str, "message": str, "place": Place, "hint": (None, str)},
    "authorize": {"slug": str, "message": str, "place": Place, "hint": (None, str)},
    "collect_requirements": {
        "requirements": ["coopery.dependencies:Requirement"],
        "locals": ["coopery.dependencies:LocalDistribution"],
        "index": "coopery.dependencies:IndexOptions",
    },
    "resolve": {"pins": Mapping, "index": Mapping, "changed": [str]},
    "add_layers": {
        "name": str,
        "stage": "coopery.dependencies:Stage",
        "pins": ["coopery.dependencies:Pin"],
        "wheels": [_NEEDS],
        "files": [tuple],
        "env": Mapping,
        "steps": [_STEPS],
    },
    "inspect_base": {
        "reference": str,
        "id": str,
        "platform": str,
        "digest": (None, str),
        "python": (None, str),
        "executable": (None, str),
    },
    "look_into_image": {
        "id": str,
        "source": str,
        "labels": Mapping,
        "entrypoint": [str],
        "command": [str],
        "env": Mapping,
        "user": str,
        "workdir": str,
        "files": Mapping,
    },
    "render_image": {
        "image": str,
        "base": "coopery.images:Base",
        "parts": ["coopery.images:Part"],
        "labels": Mapping,
        "description": str,
        "packages": [str],
    },
    "plan_image": {
        "steps": [_STEPS],
        "need": (None, _NEEDS),
        "files": [tuple],
        "env": Mapping,
        "notes": [str],
    },
    "freeze_task": {"keys": Mapping, "files": Mapping},
    "plan_task": {
        "command": [str],
        "shown": str,
        "aux": ["coopery.dependencies:Aux"],
        "skip_codes": [int],
        "env": Mapping,
        "mounts": Mapping,
        "limits": (None, "coopery.model:Resources"),
        "requests": (None, "coopery.model:Resources"),
        "workdir": (None, str),
    },
    "size_step": {
        "work": "coopery.steps:Work",
        "resources": Mapping,
        "facts": Mapping,
        "wrong": ["coopery.errors:Problem"],
    },
    "perform": {"outputs": Mapping, "facts": Mapping, "warnings": [str]},
    "weigh": {"kind": str, "kept": ["coopery.elsewhere:Kept"], "where": str, "unseen": str},
    "diagnose": {"subject": str, "text": str, "state": ("ok", "warning", "error")},
}
"""Of each noun, what its fields must be: a class, one of several things, or a tuple of things."""


def several(answer: object) -> list[Any] | None:
    """The items of an answer that gives several; None if it is nothing of that kind.

    A string is not: its characters are never what was meant.
    """
    if isinstance(answer, str | bytes | Mapping) or not isinstance(answer, Iterable):
        return None
    return list(answer)


def misfit(hook: str, answer: object) -> str | None:
    """What is wrong with an answer to a hook, or one of several; None if nothing is."""
    noun = _NOUNS.get(hook)
    if noun is not None:
        if not _fits(answer, noun):
            return f"expected {_shown(noun)}, got {came(answer)}"
        for name, kind in _FIELDS[hook].items():
            value = getattr(answer, name)
            if not _fits(value, kind):
                return f"{_shown(noun)}'s {name} is {_shown(kind)}, not {came(value)}"
        return None
    match hook:
        case "recipe_names" | "runtime_names" | "find_gone" | "review_step":
            return None if isinstance(answer, str) and answer else _expected("a name", answer)
        case "choose_base":
            good = answer if isinstance(answer, str) else _fits(answer, "coopery.images:Base")
            return None if good else _expected("a name or a Base", answer)
        case "push_image":
            return None if isinstance(answer, str) and answer else _expected("a digest", answer)
        case "fetch_recipe":
            return None if isinstance(answer, PurePath) else _expected("a Path", answer)
        case "publish":
            good = isinstance(answer, list | tuple) and all(
                _fits(item, "coopery.bundles:Published") for item in answer
            )
            return None if good else _expected("a list, each a Published", answer)
        case "wants_bases" | "let_go":
            return None if isinstance(answer, bool) else _expected("True or False", answer)
        case "provide_secret":  # what is no text may hold it, and is not shown
            return None if isinstance(answer, str) else f"expected text, got {_kind(answer)}"
        case "declare_options":
            return _option_misfit(answer)
        case "open_store":
            return _store_misfit(answer)
        case "schedule":
            return None if answer is True else _expected("True when all is done", answer)
    return None


def made_misfit(made: Made, step: Step, workspace: Workspace) -> str | None:
    """What is wrong with what was made of a step; None if nothing is.

    Raises StepError (`missing-output`) when it says a path at which nothing is: whatever the
    runtime, the task is what failed to make it.
    """
    import json
    import os

    from coopery.errors import StepError, problem

    try:
        json.dumps(dict(made.facts), allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"its facts are not JSON: {error}"
    if step.work.in_place:
        return None
    root = os.path.realpath(workspace.folder)
    taken: list[str] = []
    for output in step.outputs:
        if output not in made.outputs:
            return f"the output {output!r} is left out"
        path = made.outputs[output]
        if not isinstance(path, os.PathLike):
            return f"the output {output!r} is {came(path)}, not a Path"
        folder, base = os.path.split(os.path.abspath(path))  # noqa: PTH100
        real = os.path.join(os.path.realpath(folder), base)  # noqa: PTH118
        if not real.startswith(f"{root}/"):
            return f"the output {output!r} is {path}, which is not in its workspace"
        if any(f"{real}/".startswith(f"{o}/") or f"{o}/".startswith(f"{real}/") for o in taken):
            return f"the output {output!r} is {path}, which holds another, or lies in one"
        taken.append(real)
        if not os.path.lexists(real):
            message = f"{step.name} succeeded, but its output {output!r} is missing"
            hint = f"it is expected at {path}"
            raise StepError(problem("missing-output", message, hint=hint), facts=dict(made.facts))
    return None


def came(value: object) -> str:
    """A value in few words: its kind, and how it begins."""
    if value is None:
        return "None"
    try:
        text = repr(value)
    except Exception:
        text = "…"
    kind = _kind(value)
    return f"{kind}: {text[:57]}…" if len(text) > 60 else f"{kind}: {text}"


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _expected(what: str, answer: object) -> str:
    return f"expected {what}, got {came(answer)}"


def _fits(value: object, kind: Any) -> bool:
    match kind:
        case str():
            known = _class(kind)
            return known is not None and isinstance(value, known)
        case [inner]:
            return isinstance(value, tuple) and all(_fits(item, inner) for item in value)
        case (None, other):
            return value is None or _fits(value, other)
        case tuple():
            return value in kind
    return isinstance(value, kind)


def _class(path: str) -> type | None:
    """The class that a path names, if its module is loaded."""
    module, _, name = path.partition(":")
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def _shown(kind: Any) -> str:
    match kind:
        case str():
            name = kind.partition(":")[2]
            return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
        case [inner]:
            return f"a tuple, each {_shown(inner)}"
        case (None, other):
            return f"{_shown(other)} or None"
        case tuple():
            return " or ".join(map(repr, kind))
    return {Callable: "a function", Mapping: "a mapping", str: "a string"}.get(
        kind, f"a {getattr(kind, '__name__', kind)}"
    )


def _option_misfit(answer: object) -> str | None:
    from dataclasses import fields, is_dataclass

    if not (isinstance(answer, type) and is_dataclass(answer)):
        return _expected("a dataclass of options", answer)
    for item in fields(answer):
        if "help" not in item.metadata:
            return f"{answer.__name__}.{item.name} is not made with coopery.options.option"
    return None


def _store_misfit(answer: object) -> str | None:
    """Whether it has every verb of a store; what they do is for a conformance suite to tell."""
    from coopery.steps import Store

    verbs = [name for name in vars(Store) if not name.startswith("_")]
    missing = [name for name in verbs if not callable(getattr(answer, name, None))]
    if not missing:
        return None
    return f"a Store has the verbs {', '.join(missing)}; there are none in {came(answer)}"
