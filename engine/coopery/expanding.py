"""A recipe's tasks as instances with bound channels: matrix, edges, destinations, all checked."""

from __future__ import annotations

import functools
import json
import math
import os
import posixpath
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coopery import lengths, placeholders
from coopery.cycles import cycles
from coopery.errors import KeyPath, Problem, nearest, problem
from coopery.model import (
    Input,
    Instance,
    Output,
    Recipe,
    Task,
    TaskSecret,
    coordinate,
    iterate_matrix,
)
from coopery.steps import FileSource, Gathered, Source, StepSource


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundInput:
    """An input channel with what it reads; `base` is the name it is seen under. What is to be
    `bind` is a FileSource, and used where it is.
    """

    source: Source
    base: str
    mount: str | None
    bind: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundOutput:
    """An output channel with its base name and its destination (absolute), if it has one; what is
    to be `bind` is written there at once.
    """

    base: str
    destination: Path | None
    folder: bool
    transient: bool
    mount: str | None
    bind: bool = False


@dataclass(frozen=True, kw_only=True)
class Node:
    """A task instance with its channels bound; `values` fill `{matrix.X}` and `{params.X}`."""

    instance: Instance
    inputs: Mapping[str, BoundInput]
    outputs: Mapping[str, BoundOutput]
    values: Mapping[str, Mapping[str, str]]

    @property
    def name(self) -> str:
        """The instance's name, which is its step's too."""
        return self.instance.name

    @functools.cached_property
    def parents(self) -> tuple[str, ...]:
        """The instances this one reads from."""
        found: dict[str, None] = {}
        for bound in self.inputs.values():
            match bound.source:
                case StepSource(step=step):
                    found[step] = None
                case Gathered(parts=parts):
                    found.update((part.step, None) for _, part in parts)
        return tuple(found)


Nodes = Mapping[str, Node]

_IDENTIFIER = "write letters, digits and _, at most 100, and no digit first: fold_1"

MOST_OF_TASK = 100_000
"""How many instances the matrix of a task may make: more would take minutes only to be listed."""
MOST = 1_000_000
"""How many instances a recipe may have."""


def text_of(value: Any) -> str:
    """A parameter or coordinate as it stands in a command: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def values_of(instance: Instance) -> Mapping[str, Mapping[str, str]]:
    """What fills the placeholders of an instance that are known before it runs."""
    return {
        "matrix": {axis: text_of(value) for axis, value in instance.coords},
        "params": {name: text_of(value) for name, value in instance.task.params.items()},
    }


def check_text(
    text: str, groups: Mapping[str, Iterable[str]], key: KeyPath, problems: list[Problem]
) -> bool:
    """Whether every placeholder in `text` is one of `groups`; appends a problem for each other."""
    if "{" not in text and "}" not in text:
        return True
    try:
        template = placeholders.parse(text)
    except ValueError as error:
        mend = "placeholders are such as {inputs.NAME} or {params.NAME}; a brace is written twice"
        problems.append(problem("bad-placeholder", str(error), key=key, hint=mend))
        return False
    good = True
    hint: str | None
    for part in template:
        if isinstance(part, str):
            continue
        known = groups.get(part.group)
        if known is None:
            hint = nearest(part.group, groups)
        elif part.name in known:
            continue
        else:
            hint = nearest(part.name, known) or f"this task has no {part.group}"
            if part.group == "secrets" and not known:
                hint = "this task has no secrets that are files; variables have no path"
        problems.append(
            problem("unknown-placeholder", f"unknown placeholder {part}", key=key, hint=hint)
        )
        good = False
    return good


def placeholder_groups(task: Task) -> Mapping[str, Iterable[str]]:
    """Every placeholder a task's command may hold."""
    return {
        "inputs": task.inputs,
        "outputs": task.outputs,
        "matrix": task.matrix,
        "params": task.params,
        "secrets": [name for name, given in task.secrets.items() if given.how == "file"],
    }


class _Expander:
    """One expansion: collects problems; `nodes` is the result when there are none."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.root = str(recipe.root)
        self.prefix = posixpath.join(self.root, "")
        self.real_root = recipe.root.resolve()
        # Destinations may be beneath another folder than inputs.
        self.out = str(recipe.destinations or recipe.root)
        self.out_prefix = posixpath.join(self.out, "")
        real_out = Path(self.out).resolve()
        self.problems: list[Problem] = []
        self.count = 0
        self.instances = {name: self._instances(task) for name, task in recipe.tasks.items()}
        self.destinations: dict[str, tuple[str, str]] = {}
        # Each folder above a destination, with the first destination below it.
        self.parents: dict[str, str] = {}
        self._points = functools.cache(self._find_points)
        # The file system is asked once about each folder, however many tasks name it.
        self._obstacle = functools.cache(self._find_obstacle)
        self._leads_inside = functools.cache(
            lambda folder: Path(folder).resolve().is_relative_to(real_out)
        )

    def expand(self) -> Nodes:
        outputs = {
            instance.name: self._outputs(instance)
            for instances in self.instances.values()
            for instance in instances
        }
        self._check_nesting()
        self._check_defaults()
        nodes = {}
        for name, instances in self.instances.items():
            self._check_task(self.recipe.tasks[name])
            for index, instance in enumerate(instances):
                before = len(self.problems)
                nodes[instance.name] = Node(
                    instance=instance,
                    inputs=self._inputs(instance, outputs),
                    outputs=outputs[instance.name],
                    values=values_of(instance),
                )
                if index and len(self.problems) > before:
                    # What is wrong with every instance is said once.
                    seen = {(p.slug, p.place) for p in self.problems[:before]}
                    rest = [p for p in self.problems[before:] if (p.slug, p.place) not in seen]
                    self.problems[before:] = rest
        self.problems += cycles(nodes)
        return nodes

    def _instances(self, task: Task) -> tuple[Instance, ...]:
        key = ("task", task.name, "matrix")
        good = True
        for axis, values in task.matrix.items():
            if not values:
                message = f"the matrix axis {axis!r} has no values"
                hint = f"give it values: {axis} = [1, 2]; or take it out"
                self.problems.append(problem("empty-matrix", message, key=(*key, axis), hint=hint))
                good = False
            elif len({coordinate(value) for value in values}) < len(values):
                message = f"the matrix axis {axis!r} has a value twice"
                hint = "write each value once"
                self.problems.append(
                    problem("duplicate-value", message, key=(*key, axis), hint=hint)
                )
                good = False
            if not axis.isidentifier():
                message = f"the matrix axis {axis!r} is not a name"
                self.problems.append(
                    problem("wrong-value", message, key=(*key, axis), hint=_IDENTIFIER)
                )
                good = False
        count = math.prod(len(values) for values in task.matrix.values())
        self.count += count
        if good and (count > MOST_OF_TASK or self.count > MOST):
            much = f"{count:,} instances; a task may have {MOST_OF_TASK:,}"
            if count <= MOST_OF_TASK:
                much = f"{count:,} instances, and the recipe {self.count:,}; it may have {MOST:,}"
            hint = "give the matrix fewer values, and let a task do several of them"
            message = f"the matrix of {task.name!r} makes {much}"
            self.problems.append(problem("too-many-instances", message, key=key, hint=hint))
            good = False
        if not good:
            # One instance stands in, so that the rest of the task is checked in the same go.
            coords = ((axis, values[0] if values else "?") for axis, values in task.matrix.items())
            return (Instance(task=task, coords=tuple(sorted(coords))),)
        return tuple(Instance(task=task, coords=c) for c in iterate_matrix(task.matrix))

    def _check_task(self, task: Task) -> None:
        key: KeyPath = ("task", task.name)
        known = (*self.recipe.images, self.recipe.defaults.image)
        if task.image is not None and task.image not in known:
            hint = nearest(task.image, self.recipe.images) or "declare it under [image.NAME]"
            message = f"unknown image {task.image!r}"
            self.problems.append(problem("unknown-image", message, key=(*key, "image"), hint=hint))
        sides = [("inputs", name, c.mount) for name, c in task.inputs.items()]
        sides += [("outputs", name, c.mount) for name, c in task.outputs.items()]
        taken: dict[tuple[str, str], tuple[str, str]] = {}
        for side, name, mount in sides:
            known_by = name.upper().replace("-", "_")
            for what in (side, known_by), ("mount", (mount or "").rstrip("/")):
                if what[1] and taken.setdefault(what, (side, name)) != (side, name):
                    message = f"{name!r} and {taken[what][1]!r} collide"
                    hint = "channels differ by more than case, and have mounts of their own"
                    self.problems.append(
                        problem("duplicate-name", message, key=(*key, side, name), hint=hint)
                    )
            if not name.replace("-", "_").isidentifier() or name[0] == "-" or len(name) > 100:
                message = f"{name[:60]!r} cannot be a channel's name"
                hint = "write letters, digits, _ and -, at most 100, and no digit first"
                self.problems.append(
                    problem("wrong-value", message, key=(*key, side, name), hint=hint)
                )
        if any(mount is not None for _, _, mount in sides):
            from coopery.fixed import check_mounts

            self.problems += check_mounts(task)
        for name in task.inputs.keys() & task.outputs.keys():
            message = f"{name!r} is both an input and an output"
            hint = "give one of them another name"
            where = (*key, "outputs", name)
            self.problems.append(problem("duplicate-name", message, key=where, hint=hint))
        groups = {"matrix": task.matrix, "params": task.params}
        for variable, text in task.env.items():
            check_text(text, groups, (*key, "env", variable), self.problems)
            if variable not in self.recipe.defaults.env:
                self._check_variable(variable, (*key, "env", variable))
        for variable in task.pass_env:
            if variable not in self.recipe.defaults.pass_env:
                self._check_passed(variable, (*key, "pass_env"))
        self._check_secrets(task)

    def _check_secrets(self, task: Task) -> None:
        """What a task is given confidentially has a name of its own; defaults are told once."""
        given, usual = task.secrets, self.recipe.defaults.secrets
        others = {**dict.fromkeys(task.env, "env"), **dict.fromkeys(task.pass_env, "pass_env")}
        upper: dict[str, str] = {}
        for name, secret in given.items():
            key: KeyPath = ("task", task.name, "secrets", name)
            if usual.get(name) is not secret:
                self._check_secret_name(name, secret, key)
            if secret.how == "variable" and name in others:
                message = f"the variable {name} comes from `secrets` and from `{others[name]}`"
                hint = "keep one of them, or give the secret another name"
                self.problems.append(problem("duplicate-name", message, key=key, hint=hint))
            other = upper.setdefault(name.upper(), name) if secret.how == "file" else name
            if other != name:
                message = f"{name!r} and {other!r} collide"
                hint = "files of secrets differ by more than case"
                self.problems.append(problem("duplicate-name", message, key=key, hint=hint))

    def _check_secret_name(self, name: str, secret: TaskSecret, key: KeyPath) -> None:
        if not (name.isascii() and name.isidentifier() and len(name) <= 100):
            message = "the name that a task knows a secret by is an identifier; this is not"
            self.problems.append(problem("wrong-value", message, key=key, hint=_IDENTIFIER))
        elif secret.how == "variable":
            self._check_variable(name, key)

    def _check_defaults(self) -> None:
        """What the defaults name is told once, where it stands, and not for each task."""
        defaults = self.recipe.defaults
        if defaults.image is not None and defaults.image not in self.recipe.images:
            hint = nearest(defaults.image, self.recipe.images) or "declare it under [image.NAME]"
            message = f"unknown image {defaults.image!r}"
            found = problem("unknown-image", message, key=("defaults", "image"), hint=hint)
            self.problems.append(found)
        for variable in defaults.env:
            self._check_variable(variable, ("defaults", "env", variable))
        for variable in defaults.pass_env:
            self._check_passed(variable, ("defaults", "pass_env"))
        for name, secret in defaults.secrets.items():
            self._check_secret_name(name, secret, ("defaults", "secrets", name))

    def _check_variable(self, name: str, key: KeyPath) -> None:
        plain = name[:1] + name[1:].replace(".", "_").replace("-", "_")
        if not plain.isidentifier() or name.startswith("COOPERY_"):
            message = f"{name!r} is not a variable a task may set"
            hint = "a variable's name has letters, digits, _, . and -; COOPERY_ is coopery's own"
            self.problems.append(problem("bad-variable", message, key=key, hint=hint))

    def _check_passed(self, name: str, key: KeyPath) -> None:
        if not name or "=" in name or name.startswith("COOPERY_"):
            message = f"{name!r} is not a variable that can be passed on"
            hint = "name it alone; a value is given under `env`"
            self.problems.append(problem("bad-variable", message, key=key, hint=hint))

    def _outputs(self, instance: Instance) -> dict[str, BoundOutput]:
        task = instance.task
        found = {}
        for name, output in task.outputs.items():
            key: KeyPath = ("task", task.name, "outputs", name)
            folder = bool(output.path and output.path.endswith("/"))
            if output.bind:
                if (bound := self._bound_output(instance, output, key)) is not None:
                    found[name] = bound
                continue
            destination = self._destination(instance, name, output.path, key)
            if output.path is not None and output.transient:
                message = "a transient output has no destination"
                hint = "drop `path` or `transient`; `name` sets the base name"
                self.problems.append(problem("transient-destination", message, key=key, hint=hint))
            base = output.name or (posixpath.basename(destination) if destination else name)
            if base in ("", ".", "..") or "/" in base:
                message = f"{base!r} is not a file's name"
                hint = "write a plain name, such as table.csv; folders belong into `path`"
                where = (*key, "name")
                self.problems.append(problem("wrong-value", message, key=where, hint=hint))
            elif output.name and (long := lengths.too_long(base, (*key, "name"))):
                self.problems.append(long)
            found[name] = BoundOutput(
                base=base,
                destination=Path(destination) if destination else None,
                folder=folder,
                transient=output.transient,
                mount=output.mount,
            )
        return found

    def _bind(self, instance: Instance, path: str | None, key: KeyPath) -> Path | None:
        """Where a channel is that is used where it is: anywhere on this machine."""
        if not instance.task.always:
            message = "what is used where it is is in no key, so the task cannot be remembered"
            hint = "write `always = true` for the task, or leave `bind` out"
            self.problems.append(problem("bad-bind", message, key=(*key, "bind"), hint=hint))
            return None
        if path is None:
            hint = "say by `path` which file or folder of this machine is meant"
            message = "only a path can be used where it is"
            self.problems.append(problem("bad-bind", message, key=(*key, "bind"), hint=hint))
            return None
        groups = {"matrix": instance.task.matrix, "params": instance.task.params}
        if not check_text(path, groups, key, self.problems):
            return None
        text = placeholders.render(placeholders.parse(path), values_of(instance))
        found = posixpath.normpath(posixpath.join(self.out, text))
        if long := lengths.too_long(found, key):
            self.problems.append(long)
            return None
        return Path(found)

    def _bound_input(self, instance: Instance, channel: Input, key: KeyPath) -> BoundInput | None:
        path = self._bind(instance, channel.path, key)
        if path is None:
            return None
        if self._holder(str(path)) or str(path) in self.parents:
            message = f"{channel.path!r} is made by a task of this recipe"
            hint = "read it with `from`: then it is there before this task runs"
            self.problems.append(problem("bad-bind", message, key=(*key, "bind"), hint=hint))
            return None
        if unfit := self._unfit(path, str(channel.path), anywhere=True):
            slug, told, mend = unfit
            self.problems.append(problem(slug, told, key=key, hint=mend))
            return None
        source = FileSource(path=path, shown=str(channel.path))
        return BoundInput(source=source, base=path.name, mount=channel.mount, bind=True)

    def _bound_output(self, instance: Instance, output: Output, key: KeyPath) -> BoundOutput | None:
        path = self._bind(instance, output.path, key)
        if path is None:
            return None
        if output.transient:
            message = "a transient output has no destination"
            hint = "drop `bind` or `transient`"
            self.problems.append(problem("transient-destination", message, key=key, hint=hint))
        top = next(p for p in (path, *path.parents) if os.path.lexists(p))
        if not os.path.isdir(top):  # noqa: PTH112 - Path.is_dir raises where it may not look
            message = f"{str(top)!r} is no folder"
            hint = "name a folder; it is made if it is missing"
            self.problems.append(problem("bad-destination", message, key=key, hint=hint))
            return None
        return BoundOutput(
            base=path.name,
            destination=path,
            folder=True,
            transient=False,
            mount=output.mount,
            bind=True,
        )

    def _path(self, instance: Instance, text: str, key: KeyPath) -> str | None:
        """A recipe's path with placeholders filled, absolute, beneath where destinations are."""
        groups = {"matrix": instance.task.matrix, "params": instance.task.params}
        if not check_text(text, groups, key, self.problems):
            return None
        relative = text
        if "{" in text or "}" in text:
            relative = placeholders.render(placeholders.parse(text), values_of(instance))
        normal = posixpath.normpath(relative) if relative else ""
        if self.out_prefix == "/":
            normal = normal.lstrip("/")  # all of this machine lies inside
        if normal.startswith("/") or normal == ".." or normal.startswith("../") or not relative:
            message = f"{relative!r} does not lie inside the project"
            hint = "paths are relative to the recipe's folder"
            self.problems.append(problem("outside-project", message, key=key, hint=hint))
            return None
        path = self.out_prefix + normal
        if long := lengths.too_long(path, key):
            self.problems.append(long)
            return None
        return path

    def _destination(
        self, instance: Instance, name: str, text: str | None, key: KeyPath
    ) -> str | None:
        if text is None:
            return None
        axes = [axis for axis in instance.task.matrix if f"{{matrix.{axis}}}" not in text]
        if axes:
            message = f"the destination {text!r} lacks {{matrix.{axes[0]}}}"
            hint = "every instance needs a place of its own"
            if not any(
                p.slug == "destination-lacks-axis" and p.place.key == key for p in self.problems
            ):
                self.problems.append(problem("destination-lacks-axis", message, key=key, hint=hint))
            return None
        path = self._path(instance, text, key)
        if path is None:
            return None
        if misplaced := self._misplaced(path, text, instance):
            message, hint = misplaced
            self.problems.append(problem("bad-destination", message, key=key, hint=hint))
            return None
        if path in (str(self.recipe.file), str(self.recipe.lock_file)):
            message = f"{text!r} is the recipe's own"
            hint = "name another file"
            self.problems.append(problem("duplicate-output", message, key=key, hint=hint))
            return None
        if obstacle := self._obstacle(posixpath.dirname(path)):
            shown = obstacle if self.out == "/" else posixpath.relpath(obstacle, self.out)
            message = f"{text!r} lies in {shown!r}, which is a file"
            hint = "name another folder"
            self.problems.append(problem("bad-destination", message, key=key, hint=hint))
            return None
        if not self._leads_inside(posixpath.dirname(path)):
            message = f"{text!r} leads outside the project through a symlink"
            hint = "name another folder, or make the link lead to one in the project"
            self.problems.append(problem("outside-project", message, key=key, hint=hint))
            return None
        other = self.destinations.setdefault(path, (instance.name, name))
        if other != (instance.name, name):
            message = f"{text!r} is also written by {other[0]}.{other[1]}"
            hint = "give each a path of its own"
            self.problems.append(problem("duplicate-output", message, key=key, hint=hint))
            return None
        return path

    def _find_obstacle(self, folder: str) -> str | None:
        """The file that stands where a folder would have to be; None where there is none."""
        while len(folder) > len(self.out) and not os.path.lexists(folder):
            folder = posixpath.dirname(folder)
        return folder if os.path.isfile(folder) else None  # noqa: PTH113 - it may not raise

    def _misplaced(self, path: str, text: str, instance: Instance) -> tuple[str, str] | None:
        """Why nothing may be written at a path inside the project: the message, and a hint."""
        inner = posixpath.relpath(path, self.out)
        if inner == ".":
            return f"{text!r} is the project's folder itself", "name a file or folder in it"
        if ".git" in inner.split("/"):
            return f"{text!r} lies in a .git folder, which is git's own", "name another folder"
        if "{" in text:
            rendered = placeholders.render(placeholders.parse(text), values_of(instance))
            parts = {*rendered.split("/")} - {*text.split("/")}
            for part in {".", ".."} & parts:
                hint = "give the matrix or the parameter values that can be a file's name"
                return f"{text!r} becomes {rendered!r}, where {part!r} is no name", hint
        return None

    def _check_nesting(self) -> None:
        for path, (instance, name) in self.destinations.items():
            parent = posixpath.dirname(path)
            while len(parent) > len(self.out):
                self.parents.setdefault(parent, path)
                if parent in self.destinations:
                    outer = ".".join(self.destinations[parent])
                    task = instance.partition("@")[0]
                    message = f"lies inside the output {outer}"
                    hint = "give each a path outside the other"
                    where = ("task", task, "outputs", name)
                    self.problems.append(problem("nested-output", message, key=where, hint=hint))
                parent = posixpath.dirname(parent)

    def _holder(self, path: str) -> str | None:
        """The destination that is this path or a folder above it."""
        while len(path) > len(self.out):
            if path in self.destinations:
                return path
            path = path.rpartition("/")[0]
        return None

    def _inputs(
        self, instance: Instance, outputs: Mapping[str, Mapping[str, BoundOutput]]
    ) -> dict[str, BoundInput]:
        found = {}
        for name, channel in instance.task.inputs.items():
            key: KeyPath = ("task", instance.task.name, "inputs", name)
            if (channel.path is None) == (channel.origin is None):
                message = "an input has either a path or `from`"
                hint = 'write "data/table.csv", or { from = "TASK.OUTPUT" }'
                self.problems.append(problem("bad-input", message, key=key, hint=hint))
                continue
            if channel.bind:
                bound = self._bound_input(instance, channel, key)
            elif channel.origin is not None:
                bound = self._from(instance, name, channel, key, outputs)
            else:
                bound = self._from_path(instance, channel, key, outputs)
            if bound is not None:
                found[name] = bound
        return found

    def _from(
        self,
        instance: Instance,
        name: str,
        channel: Input,
        key: KeyPath,
        outputs: Mapping[str, Mapping[str, BoundOutput]],
    ) -> BoundInput | None:
        assert channel.origin is not None
        producer, dot, output = channel.origin.partition(".")
        task = self.recipe.tasks.get(producer)
        if task is None or not dot:
            known = [f"{t}.{o}" for t, spec in self.recipe.tasks.items() for o in spec.outputs]
            message = (
                f"unknown task {producer!r}" if dot else f"{channel.origin!r} is not TASK.OUTPUT"
            )
            near = nearest(channel.origin, known) or "no task has outputs"
            slug = "unknown-task" if dot else "bad-input"
            self.problems.append(problem(slug, message, key=(*key, "from"), hint=near))
            return None
        if output not in task.outputs:
            message = f"task {producer!r} has no output {output!r}"
            hint = nearest(output, task.outputs) or f"{producer} has no outputs; declare one"
            self.problems.append(problem("unknown-channel", message, key=(*key, "from"), hint=hint))
            return None
        if channel.at is not None:
            return self._from_at(instance, task, output, channel, key, outputs)
        if not task.matrix:
            bound = outputs[producer][output]
            source: Source = StepSource(step=producer, output=output)
            return BoundInput(source=source, base=bound.base, mount=channel.mount)
        parts = tuple(
            (f"{i.folder}/{outputs[i.name][output].base}", StepSource(step=i.name, output=output))
            for i in self.instances[producer]
        )
        long = next((found for part, _ in parts if (found := lengths.misfit(part))), None)
        if long is not None:
            message = f"each instance of {producer!r} is a folder here, and {long}"
            hint = "give the matrix short values, such as keys of a table that the task reads"
            where = (*key, "from")
            self.problems.append(problem("name-too-long", message, key=where, hint=hint))
            return None
        gathered = Gathered(parts=tuple(sorted(parts)))
        return BoundInput(source=gathered, base=name, mount=channel.mount)

    def _find_points(self, task: str) -> dict[tuple[str, ...], Instance]:
        """A task's instances by their coordinates' texts, in the order of the axes' names."""
        return {tuple(text_of(v) for _, v in i.coords): i for i in self.instances[task]}

    def _from_at(
        self,
        instance: Instance,
        task: Task,
        output: str,
        channel: Input,
        key: KeyPath,
        outputs: Mapping[str, Mapping[str, BoundOutput]],
    ) -> BoundInput | None:
        assert channel.at is not None
        at: dict[str, str] = {}
        groups = {"matrix": instance.task.matrix, "params": instance.task.params}
        for axis, value in channel.at.items():
            where = (*key, "at", axis)
            if axis not in task.matrix:
                message = f"task {task.name!r} has no matrix axis {axis!r}"
                hint = nearest(axis, task.matrix) or "it has no matrix; leave out `at`"
                self.problems.append(problem("unknown-axis", message, key=where, hint=hint))
                return None
            at[axis] = text_of(value)
            if isinstance(value, str):
                if not check_text(value, groups, where, self.problems):
                    return None
                at[axis] = placeholders.render(placeholders.parse(value), values_of(instance))
        missing = [axis for axis in task.matrix if axis not in at]
        if missing:
            message = f"`at` must name every axis; {missing[0]!r} is missing"
            hint = f"add {missing[0]} = …; without `at`, all instances are read"
            self.problems.append(problem("unknown-axis", message, key=(*key, "at"), hint=hint))
            return None
        chosen = self._points(task.name).get(tuple(at[axis] for axis in sorted(at)))
        if chosen is None:
            shown = ", ".join(f"{axis}={value}" for axis, value in sorted(at.items()))
            message = f"task {task.name!r} has no instance at {shown}"
            near = _near_point(task, at)
            self.problems.append(problem("unknown-instance", message, key=(*key, "at"), hint=near))
            return None
        source = StepSource(step=chosen.name, output=output)
        base = outputs[chosen.name][output].base
        return BoundInput(source=source, base=base, mount=channel.mount)

    def _from_path(
        self,
        instance: Instance,
        channel: Input,
        key: KeyPath,
        outputs: Mapping[str, Mapping[str, BoundOutput]],
    ) -> BoundInput | None:
        assert channel.path is not None
        if channel.at is not None:
            hint = "drop it, or read an output with `from`"
            self.problems.append(
                problem("bad-input", "`at` goes with `from`", key=(*key, "at"), hint=hint)
            )
        path = self._path(instance, channel.path, key)
        if path is None:
            return None
        base = posixpath.basename(path)
        holder = self._holder(path)
        if holder is not None:
            step, output = self.destinations[holder]
            inside = path[len(holder) + 1 :]
            source: Source = StepSource(step=step, output=output, inside=inside)
            return BoundInput(source=source, base=base, mount=channel.mount)
        if path in self.parents:
            maker = ".".join(self.destinations[self.parents[path]])
            message = f"the folder {channel.path!r} contains outputs, such as that of {maker}"
            hint = f'name what is read: from = "{maker.partition("@")[0]}"'
            self.problems.append(problem("folder-of-outputs", message, key=key, hint=hint))
            return None
        file = Path(self.prefix + path.removeprefix(self.out_prefix))
        if unfit := self._unfit(file, channel.path):
            slug, told, mend = unfit
            self.problems.append(problem(slug, told, key=key, hint=mend))
            return None
        shown = path if self.out_prefix == "/" else path.removeprefix(self.out_prefix)
        return BoundInput(source=FileSource(path=file, shown=shown), base=base, mount=channel.mount)

    def _unfit(
        self, file: Path, shown: str, *, anywhere: bool = False
    ) -> tuple[str, str, str | None] | None:
        """Why a path of the project cannot be read as an input: slug, message, hint."""
        try:
            mode = file.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            message = f"there is no file or folder {shown!r}"
            if file.is_symlink():
                return "missing-input", f"{shown!r} is a link to nothing", "mend the link"
            return "missing-input", message, self._near_file(str(file))
        except OSError as error:
            hint = "check its permissions and those of the folders above it"
            return "unreadable", f"{shown!r} cannot be read: {error.strerror}", hint
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            hint = "an input is a file or a folder: copy what it gives into a file"
            return "special-file", f"{shown!r} is a pipe, a socket or a device", hint
        inside = anywhere or not file.is_symlink()
        if not inside and not file.resolve().is_relative_to(self.real_root):
            hint = "copy what it leads to into the project, or make the link lead inside"
            return "link-outside", f"{shown!r} is a link that leads out of the project", hint
        return None

    def _near_file(self, path: str) -> str | None:
        folder = Path(path).parent
        if not folder.is_dir():
            return f"there is no folder {os.path.relpath(folder, self.root)}"
        near = nearest(Path(path).name, [entry.name for entry in folder.iterdir()])
        return near or f"the folder {os.path.relpath(folder, self.root)} is empty"


def _near_point(task: Task, at: Mapping[str, str]) -> str | None:
    """The value that an axis has in place of one that it has not."""
    for axis, values in task.matrix.items():
        known = [text_of(value) for value in values]
        if at[axis] not in known:
            return f"the axis {axis!r}: {nearest(at[axis], known) or 'it has no values'}"
    return None


def expand(recipe: Recipe) -> tuple[Nodes, list[Problem]]:
    """Every task instance with its channels bound, and every problem found on the way."""
    expander = _Expander(recipe)
    return expander.expand(), expander.problems
