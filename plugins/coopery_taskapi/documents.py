"""A `task.json` as a recipe: one image as it is, and one task of a template of it (K10)."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from coopery.credentials import kind_of as kind_of_text
from coopery.dependencies import Frozen
from coopery.errors import KeyPath, Place, Problem, RecipeError, problem
from coopery.masking import keep_out
from coopery.model import ExitCode
from coopery.model import Task as RecipeTask
from coopery.recipes import Document
from coopery_taskapi import finding, text
from coopery_taskapi.models import Binding, Config, ProcessingContainer, Task, Template
from coopery_taskapi.reading import Read, custom_of, kind_of, located
from coopery_taskapi.reading import check as read_document
from coopery_taskapi.uses import TemplateUse

IMAGE = "container"
"""What the one image is called."""
PASSWORD = "registryPassword"
"""What the secret is called that a document holds as text."""
_FOR_KUBERNETES = (
    *("annotations", "namespace", "imagePullSecrets", "env_vars", "volumes", "volume_mounts"),
)


def load(path: Path, sets: Sequence[str], *, remember: bool) -> Document:
    """The recipe that a task.json stands for.

    Unless it is to `remember`, the task is always run, and its channels are the folders themselves.
    Raises RecipeError with all that is wrong in the document; `unknown-recipe-kind` for another.
    """
    source = text.read_file(path, str(path))
    if not source.problems and kind_of(source.data) is not Task:
        raise RecipeError(_no_task(source.data, source.place(())))
    read = read_document(source, Task, custom_of(sets))
    task = read.document
    name = _name(task.name)
    handed = dict(handed_in(read))
    login, warnings = finding.login_of(read)
    config = task.config or Config()
    data: dict[str, Any] = {
        "defaults": {"runtime": "docker"},
        "image": {IMAGE: {"prebuilt": task.image}},
        "task": {name: _task(task, config, frozenset(handed), remember=remember)},
    }
    if login is not None:
        secret = {"secret": PASSWORD}
        registry = {"host": login.host, "username": login.username, "password": secret}
        data["registries"] = [registry]
    return Document(
        data=data,
        locate=_Places(read, name),
        root=Path("/"),
        takes_sets=True,
        locked=False,
        exit_code=ExitCode.TASK,
        confided={
            **({PASSWORD: config.registryPassword} if config.registryPassword else {}),
            **handed,
        },
        problems=tuple(_check_folders(read)),
        warnings=(*_as_warnings(warnings), *read.warnings, *_as_warnings(_unheeded(config, read))),
    )


def _no_task(data: Any, place: Place) -> Problem:
    """That a document is not what can be run."""
    message = "this is no task: it has neither `image` nor `taskTemplate`"
    hint = "a task.json names an image and one of its templates (docs/reference/task-api.md)"
    if kind_of(data) is ProcessingContainer:
        message = "this says what an image can do, and not what is to be run"
        hint = "name a task.json, and give this to it with --specification"
    return Problem(slug="unknown-recipe-kind", message=message, place=place, hint=hint)


def _check_folders(read: Read[Task]) -> Iterator[Problem]:
    """What a channel reads is a folder, as what it writes; that it is there is seen elsewhere."""
    for index, binding in enumerate(read.document.inputs or ()):
        path = binding.volume_source.host_path
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file may raise
            key: KeyPath = ("inputs", index, "volume_source", "host_path")
            message = f"the channel {binding.name!r} is a folder, and {path} is a file"
            hint = "name the folder that the file is in, or put it into one of its own"
            yield located(problem("not-a-folder", message, key=key, hint=hint), read.text)


def _as_warnings(found: Sequence[Problem] | Iterator[Problem]) -> Iterator[Problem]:
    return (replace(one, warning=True) for one in found)


def _unheeded(config: Config, read: Read[Task]) -> Iterator[Problem]:
    """What means something to Kubernetes alone."""
    given = [name for name in _FOR_KUBERNETES if getattr(config, name)]
    if config.type == "k8s":
        given.insert(0, "type")
    for name in given:
        message = f"{name} means something to Kubernetes alone: it is not heeded here"
        hint = "it may stay, for others"
        yield located(problem("not-heeded", message, key=("config", name), hint=hint), read.text)


def _name(text: str) -> str:
    """A task's name, made safe for shells and folders."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:100]
    return plain if re.match(r"[A-Za-z_]", plain) else f"task-{plain}"[:100].rstrip("-")


def handed_in(read: Read[Task]) -> Iterator[tuple[str, str]]:
    """The variables that are passwords and the like, and are not written in the file but filled
    in: they are handed to the container as secrets are, and kept nowhere.
    """
    for index, variable in enumerate(read.document.env or ()):
        filled = ("env", index, "value") in read.names
        if filled and variable.name.isidentifier() and kind_of_text(variable.value, variable.name):
            keep_out(variable.value)
            yield variable.name, variable.value


def _task(task: Task, config: Config, handed: frozenset[str], *, remember: bool) -> dict[str, Any]:
    template = task.taskTemplate
    inline = template if isinstance(template, Template) else None
    identifier = template.identifier if isinstance(template, Template) else template
    use: dict[str, Any] = {"name": f"{IMAGE}#{identifier}"}
    if inline is not None:
        use["inline"] = plain(inline)
    if task.command is not None:
        use["command"] = [_literal(item) for item in task.command]
    if task.resources is not None:
        use["resources"] = plain(task.resources)
    bindings = (*(task.inputs or ()), *(task.outputs or ()))
    rules = {b.name: plain(b.scale_rule) for b in bindings if b.scale_rule is not None}
    if rules:
        use["scale_rule"] = rules
    data: dict[str, Any] = {
        "template": use,
        "env": {v.name: _literal(v.value) for v in task.env or () if v.name not in handed},
        "secrets": {name: {"secret": name, "as": "variable"} for name in sorted(handed)},
        "inputs": _channels(task.inputs, "", remember=remember),
        "outputs": _channels(task.outputs, "/", remember=remember),
        "always": not remember,
    }
    if config.labels:
        data["container"] = {"labels": dict(config.labels)}
    return data


def _channels(
    bindings: Sequence[Binding] | None, end: str, *, remember: bool
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for binding in bindings or ():
        path = _literal(binding.volume_source.host_path)
        given: dict[str, Any] = {"path": path, "bind": True}
        if remember:
            given = {"path": path + end}
        found[binding.name] = given
    return found


def _literal(text: str) -> str:
    """Text in which braces are no placeholders."""
    return text.replace("{", "{{").replace("}", "}}")


def plain(value: Any) -> Any:
    """A value of the format as it stands in a document; what is not said is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((item.name, getattr(value, item.name)) for item in dataclasses.fields(value))
        return {name: plain(inner) for name, inner in fields if inner is not None}
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, tuple) else value


def frozen(task: RecipeTask) -> Frozen | None:
    """The template that a recipe's task is of, as its table says it."""
    use = task.facet(TemplateUse)
    return None if use is None else Frozen(keys={"template": plain(use)})


class _Places:
    """Where the keys of the recipe stand in the document."""

    def __init__(self, read: Read[Task], name: str) -> None:
        task = read.document
        self._text = read.text
        own: KeyPath = ("task", name)
        template: KeyPath = ("taskTemplate",)
        self._keys: dict[KeyPath, KeyPath] = {
            ("image", IMAGE): ("image",),
            (*own, "template"): template,
            (*own, "template", "command"): ("command",),
            (*own, "template", "resources"): ("resources",),
            (*own, "template", "inline"): template,
            (*own, "resources"): ("resources",),
            (*own, "container", "labels"): ("config", "labels"),
            ("registries",): ("config",),
            (*own, "env"): ("env",),
            (*own, "inputs"): ("inputs",),
            (*own, "outputs"): ("outputs",),
        }
        for kind in ("limits", "requests"):
            for name in getattr(task.resources, kind, None) or ():
                amount: KeyPath = ("resources", kind, name)
                self._keys[*own, "template", *amount] = amount
        for index, variable in enumerate(task.env or ()):
            self._keys[*own, "env", variable.name] = ("env", index, "value")
        for side, bindings in (("inputs", task.inputs), ("outputs", task.outputs)):
            for index, binding in enumerate(bindings or ()):
                key: KeyPath = (side, index, "volume_source", "host_path")
                self._keys[*own, side, binding.name] = key
                self._keys[*own, side, binding.name, "name"] = (side, index, "name")
                rule: KeyPath = (side, index, "scale_rule")
                self._keys[*own, "template", "scale_rule", binding.name] = rule

    def __call__(self, key: KeyPath) -> Place:
        """The place of a key of the recipe, or of the nearest one above it."""
        return self._text.place(self.spoken(key))

    def spoken(self, key: KeyPath) -> KeyPath:
        """A key of the recipe as the document has it."""
        near = key
        while near and near not in self._keys:
            near = near[:-1]
        return self._keys.get(near, ())
