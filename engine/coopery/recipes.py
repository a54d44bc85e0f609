"""Find a recipe file, have a plugin read it, and turn what it says into checked values."""

from __future__ import annotations

import os
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coopery import lengths, model, shapes
from coopery.errors import KeyPath, Place, Problem, RecipeError, nearest, problem, show_key
from coopery.inlining import inlined, spoken, with_images
from coopery.shapes import MISSING, Field

if TYPE_CHECKING:
    from coopery.options import Settings
    from coopery.plugins import Plugins


@dataclass(frozen=True, kw_only=True)
class Document:
    """A recipe file as its reader found it: `data` has the tables `image`, `task`, `defaults`.

    `locate` tells where a key stands, or the nearest key above it that is known. `problems` are
    those only the reader can see, such as a name given twice. `root` is the folder that the paths
    of inputs are relative to, where that is not the file's.
    """

    data: Mapping[str, Any]
    locate: Callable[[KeyPath], Place]
    problems: tuple[Problem, ...] = ()
    root: Path | None = None
    takes_sets: bool = False
    """Whether it has taken what `--set` says itself."""
    locked: bool = True
    """Whether a lock file beside it pins what it is made of."""
    confided: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secrets that the file holds as text, by the names that `data` has for them."""
    warnings: tuple[Problem, ...] = ()
    """What does not stop it, and should be told."""
    exit_code: model.ExitCode = model.ExitCode.RUN
    """Whose exit code a run of it ends with where nobody says."""


@dataclass(frozen=True, kw_only=True)
class Facet:
    """A key that a plugin adds to a noun: its value is read as `type`, a frozen dataclass.

    `wrap` is the dataclass the value becomes when `type` is not one itself (a list, a mapping):
    it is called with the value. `keyed=False` keeps it out of keys. Where importing a type takes
    long, its name stands for it, `module:Name`; then it is not in keys, either.
    """

    noun: Literal["image", "task", "recipe"]
    key: str
    type: Any
    wrap: Callable[[Any], object] | None = None
    keyed: bool = True
    doc: str = ""
    action: bool = False
    """Says what a task runs: each task has exactly one such key."""
    by_hand: bool = True
    """Whether people write it; of what only bundles hold, messages do not tell."""
    alone: bool = False
    """Says all that an image holds: no other plugin's key may stand beside it."""
    image_of: Callable[[Any, Collection[str]], str | Mapping[str, Any] | None] | None = None
    """Of a task's key that says which image the task is for: by its raw value, and the names of
    the recipe's images, the name of one, or a table that describes it; None where it says none.
    """

    @property
    def field(self) -> Field:
        """The facet as a key of its noun's table."""
        return Field(self.key, self.key, self.type, (), False, self.doc)


def settle(path: Path) -> Path:
    """The one path by which a file is known, however it was named: without links and `..` above it.

    A file that is a link itself stays one: it counts where it stands.
    """
    if path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent), path.name)


def find(start: Path, given: str | None, names: Sequence[str]) -> Path:
    """The recipe file, settled: the one given, else the nearest at or above `start`.

    Raises RecipeError: `no-recipe`, or `two-recipes` when one folder has several.
    """
    start = Path(os.path.realpath(start))
    if given == "":
        hint = "leave it out for the nearest recipe, or name one"
        raise RecipeError(Problem(slug="bad-option", message="-f: it is empty", hint=hint))
    if given is not None:
        file = start / given
        if long := lengths.too_long(file):
            raise RecipeError(replace(long, message=f"-f: {long.message}"))
        if os.path.isdir(file):  # noqa: PTH112 - as below
            inside = Path(os.path.realpath(file))
            return find_in(inside, names) or _none(str(inside), names)
        file = settle(file)
        if not os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises where it may not look
            near = nearest(file.name, _names_in(file.parent))
            missing = f"there is no file {given}"
            raise RecipeError(Problem(slug="no-recipe", message=missing, hint=near))
        return file
    for folder in (start, *start.parents):
        found = find_in(folder, names)
        if found:
            return found
    return _none(str(start), names)


def show(file: Path, given: str | None, cwd: Path) -> str:
    """A recipe that was found, as the user named it; else by its path from here."""
    if given is None:
        return os.path.relpath(file, cwd)
    typed = Path(given)
    return str(typed if os.path.isfile(cwd / typed) else typed / file.name)  # noqa: PTH113


def folder_of(start: Path, given: str) -> Path:
    """The folder of the recipe that `-f` names; the file may be missing."""
    path = start / given
    # Not Path.is_dir, which raises for what cannot be entered or be named.
    return path.resolve() if os.path.isdir(path) else settle(path).parent  # noqa: PTH112


def find_in(folder: Path, names: Sequence[str]) -> Path | None:
    """The one recipe in this folder, if there is any."""
    found = [folder / name for name in names if os.path.isfile(folder / name)]  # noqa: PTH113
    if len(found) > 1:
        both = " and ".join(file.name for file in found)
        raise RecipeError(
            Problem(
                slug="two-recipes",
                message=f"{folder} holds {both}",
                hint=f"name one: -f {found[0].name}",
            )
        )
    return found[0] if found else None


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return []  # there is nothing to offer


def _none(start: str, names: Sequence[str]) -> typing.NoReturn:
    raise RecipeError(
        Problem(
            slug="no-recipe",
            message=f"no {' or '.join(names)} in {start} or above",
            hint="`coopery init` writes a first one; -f names one elsewhere",
        )
    )


def read(
    file: Path,
    plugins: Plugins,
    overrides: Sequence[str] = (),
    document: Document | None = None,
    destinations: Path | None = None,
    settings: Settings | None = None,
) -> model.Recipe:
    """The recipe in this file, or in the `document` that was read already, with `--set` overrides
    applied.

    `destinations` is the folder that outputs go to, where that is not the recipe's.
    Raises RecipeError with all that is wrong in its values at once, each with file and line.
    """
    if document is None:
        _check_readable(file)
        document = plugins.load_recipe(file, overrides, settings)
    problems = list(document.problems)
    facets = plugins.declare_facets()
    data, locate = with_images(document.data, document.locate, facets, problems)
    data, locate = inlined(data, locate)
    tables = {"image": data.get("image", {}), "task": data.get("task", {})}
    for key in data:
        if key not in (*tables, "defaults", *(f.key for f in facets if f.noun == "recipe")):
            known = (*tables, "defaults")
            problems.append(
                problem("unknown-key", f"unknown key {key!r}", key=(key,), hint=nearest(key, known))
            )
    defaults = _defaults(data.get("defaults", {}), problems)
    images = _nouns(tables["image"], "image", model.Image, facets, problems)
    tasks = _nouns(tables["task"], "task", model.Task, facets, problems)
    own = _facets("recipe", data, facets, (), problems)
    problems += _unique_ids(tables)
    recipe = model.Recipe(
        file=file,
        root=document.root or file.parent,
        destinations=destinations,
        images=images,
        tasks={
            name: _defaulted(task, data["task"][name], defaults) for name, task in tasks.items()
        },
        defaults=defaults,
        facets=own,
        confided=document.confided,
        warnings=document.warnings,
        locked=document.locked,
        taken_sets=tuple(overrides) if document.takes_sets else None,
        locate=locate,
        exit_code=document.exit_code,
    )
    if not problems and overrides and not document.takes_sets:
        recipe = override(recipe, overrides, problems)
    if problems:
        broken = RecipeError(*(located(p, locate) for p in problems))
        broken.partial = recipe  # type: ignore[attr-defined]
        raise broken
    return recipe


def _check_readable(file: Path) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        message = f"the recipe cannot be read: {error.strerror}"
        raise RecipeError(
            Problem(
                slug="unreadable",
                message=message,
                place=Place(file=str(file)),
                hint="check its permissions and those of its folder",
            )
        ) from None


def located(found: Problem, locate: Callable[[KeyPath], Place]) -> Problem:
    """The problem with file and line added, where only its key is known."""
    if found.place.file is not None or not found.place.key:
        if found.place.file is None and not found.place.key:
            return replace(found, place=locate(()))
        return found
    place = locate(found.place.key)
    return replace(found, place=replace(place, key=spoken(found.place.key, locate)))


def _defaults(table: Any, problems: list[Problem]) -> model.Defaults:
    """`[defaults]`, less what is wrong in it, so that the rest is checked in the same go."""
    if not isinstance(table, Mapping):
        hint = "write [defaults], and its keys beneath it"
        problems.append(problem("wrong-type", "expected a table", key=("defaults",), hint=hint))
        return model.Defaults()
    known = shapes.fields_of(model.Defaults)
    return model.Defaults(**shapes.convert_table(table, known, ("defaults",), problems))


def _nouns(
    table: Any,
    noun: Literal["image", "task"],
    kind: type,
    facets: Sequence[Facet],
    problems: list[Problem],
) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        hint = f"write [{noun}.NAME], and its keys beneath it"
        message = f"expected a table of {noun}s"
        problems.append(problem("wrong-type", message, key=(noun,), hint=hint))
        return {}
    own = tuple(f for f in shapes.fields_of(kind) if f.attribute not in ("facets", "name"))
    extra = {f.key: f for f in facets if f.noun == noun}
    known = own + tuple(f.field for f in extra.values())
    read_name = shapes.reader(shapes.Name)
    found: dict[str, Any] = {}
    for name, raw in table.items():
        key: KeyPath = (noun, name)
        read_name(name, key, problems)
        if not isinstance(raw, Mapping):
            hint = f"write [{show_key(key)}], and its keys beneath it"
            problems.append(problem("wrong-type", "expected a table", key=key, hint=hint))
            continue
        values = shapes.convert_table(raw, known, key, problems)
        if noun == "task":
            problems += _one_action(name, raw, facets)
        else:
            problems += _alone(name, raw, facets)
        extras = tuple(_wrap(extra[k], values.pop(k)) for k in list(values) if k in extra)
        found[name] = kind(name=name, facets=extras, **values)
    return found


def _one_action(name: str, raw: Mapping[str, Any], facets: Sequence[Facet]) -> list[Problem]:
    """A task runs one thing."""
    known = [facet.key for facet in facets if facet.action]
    given = [key for key in raw if key in known]
    if len(given) > 1:
        message = f"a task has one of {' and '.join(given)}"
        hint = "keep one of them, and make the other a task of its own"
        return [problem("two-actions", message, key=("task", name, given[1]), hint=hint)]
    if not given:
        if any(nearest(key, known) in [f"did you mean {k!r}?" for k in known] for key in raw):
            return []  # the typo is told already
        known = [facet.key for facet in facets if facet.action and facet.by_hand]
        message = f"the task says neither {' nor '.join(known) or 'command nor function'}"
        hint = f"say what it runs: {' or '.join(f'{k} = …' for k in known) or 'command = …'}"
        return [problem("no-action", message, key=("task", name), hint=hint)]
    return []


def _alone(name: str, raw: Mapping[str, Any], facets: Sequence[Facet]) -> list[Problem]:
    """Upon what is used as it is, nothing is put."""
    whole = next((f.key for f in facets if f.noun == "image" and f.alone and f.key in raw), None)
    if whole is None:
        return []
    beside = [f.key for f in facets if f.noun == "image" and f.key in raw and f.key != whole]
    hint = f"drop it; or begin with that image and put more upon it: `base` instead of `{whole}`"
    message = f"the image is used as `{whole}` names it: nothing is put upon it"
    return [
        problem("prebuilt-alone", message, key=("image", name, key), hint=hint) for key in beside
    ]


def _wrap(facet: Facet, value: Any) -> object:
    return facet.wrap(value) if facet.wrap else value


def _facets(
    noun: str,
    raw: Mapping[str, Any],
    facets: Sequence[Facet],
    key: KeyPath,
    problems: list[Problem],
) -> tuple[object, ...]:
    found = []
    for facet in facets:
        if facet.noun == noun and facet.key in raw:
            value = shapes.convert(raw[facet.key], facet.type, (*key, facet.key), problems)
            if value is not MISSING:
                found.append(_wrap(facet, value))
    return tuple(found)


def _unique_ids(tables: Mapping[str, Any]) -> list[Problem]:
    """Names that differ only by case would share a folder on some file systems."""
    problems = []
    for noun, table in tables.items():
        seen: dict[str, str] = {}
        for name in table if isinstance(table, Mapping) else ():
            other = seen.setdefault(str(name).lower(), name)
            if other != name:
                message = f"{name!r} and {other!r} differ only by case"
                hint = "give one of them another name"
                problems.append(problem("duplicate-name", message, key=(noun, name), hint=hint))
    return problems


def _defaulted(task: model.Task, raw: Mapping[str, Any], defaults: model.Defaults) -> model.Task:
    """The task with the recipe's defaults where it is silent; `env`, `pass_env` and `secrets` add
    up.
    """
    changes: dict[str, Any] = {
        name: getattr(defaults, name)
        for name in ("image", "resources", "retries", "timeout", "priority")
        if name not in raw and getattr(defaults, name) is not None
    }
    if defaults.env:
        changes["env"] = {**defaults.env, **task.env}
    if defaults.secrets:
        changes["secrets"] = {**defaults.secrets, **task.secrets}
    if defaults.pass_env:
        changes["pass_env"] = tuple(dict.fromkeys((*defaults.pass_env, *task.pass_env)))
    return replace(task, **changes) if changes else task


def override(
    recipe: model.Recipe, settings: Sequence[str], problems: list[Problem]
) -> model.Recipe:
    """The recipe with `TASK.PARAM=VALUE` applied, values typed as TOML (semantics 15)."""
    tasks = dict(recipe.tasks)
    for text in settings:
        target, equals, raw = text.partition("=")
        name, dot, parameter = target.partition(".")
        where = f"--set {lengths.shorten(text, 80)}"
        if not (equals and dot):
            hint = "write --set TASK.PARAM=VALUE"
            problems.append(problem("bad-set", "not understood", file=where, hint=hint))
            continue
        task = tasks.get(name)
        if task is None:
            problems.append(
                problem(
                    "unknown-task",
                    f"there is no task {name!r}",
                    file=where,
                    hint=nearest(name, tasks),
                )
            )
        elif parameter not in task.params:
            hint = nearest(parameter, task.params) or f"{name} has no params"
            problems.append(
                problem(
                    "unknown-param", f"there is no parameter {parameter!r}", file=where, hint=hint
                )
            )
        else:
            try:
                value = _typed(raw)
            except ValueError as error:
                hint = "write the value as a recipe has it: 3, 0.5, true, or text"
                problems.append(problem("wrong-value", str(error), file=where, hint=hint))
                continue
            tasks[name] = replace(task, params={**task.params, parameter: value})
    return replace(recipe, tasks=tasks)


def _typed(raw: str) -> Any:
    """A value as TOML would read it; a bare word is text."""
    import tomllib

    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        value = raw
    return shapes.freeze(value)
